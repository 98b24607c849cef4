#pragma once
#include <stdint.h>
struct SpiBus {
    void begin();
    uint8_t transfer(uint8_t byte);
};
extern SpiBus SPI;
