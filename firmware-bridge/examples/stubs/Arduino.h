// The functions of a board that the sketch uses: just enough to compile it.
#pragma once
#include <stddef.h>
#include <stdint.h>
enum { LOW, HIGH, FALLING, INPUT_PULLUP };
void pinMode(int pin, int mode);
int digitalRead(int pin);
void digitalWrite(int pin, int level);
int digitalPinToInterrupt(int pin);
void attachInterrupt(int number, void (*handler)(), int mode);
uint32_t micros();
enum { A0 = 14 };
int analogRead(int pin);
void randomSeed(unsigned long seed);
long random(long most);
struct SerialPort {
    void begin(unsigned long baud);
    int available();
    int availableForWrite();
    int read();
    size_t write(const uint8_t *bytes, size_t length);
};
extern SerialPort Serial;
