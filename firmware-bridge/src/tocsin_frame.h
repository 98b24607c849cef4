/* Internal: writes a frame byte by byte, and numbers as bytes. */
#ifndef TOCSIN_FRAME_H
#define TOCSIN_FRAME_H

#include "tocsin_link.h"

typedef struct {
    uint8_t *out;
    size_t room;
    size_t at;
    size_t code_at; /* offset of the code of the current COBS group */
    size_t body;    /* bytes of the body so far */
    uint32_t crc;
    uint8_t code;
} tocsin_writer;

void tocsin_write_begin(tocsin_writer *writer, uint8_t *out, size_t room);
void tocsin_write(tocsin_writer *writer, uint32_t value, uint8_t bytes);
size_t tocsin_write_end(tocsin_writer *writer); /* length of the frame; 0 if it did not fit */

uint32_t tocsin_crc(uint32_t crc, uint8_t byte);
uint32_t tocsin_get(const uint8_t *at, uint8_t bytes);

#endif
