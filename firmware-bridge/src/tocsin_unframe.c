/* Decodes COBS and checks the CRC-32C of a frame, in place. */
#include "tocsin_frame.h"

uint32_t tocsin_get(const uint8_t *at, uint8_t bytes)
{
    uint32_t value = 0;
    while (bytes > 0u) {
        bytes--;
        value = (value << 8) | at[bytes];
    }
    return value;
}

size_t tocsin_unframe(uint8_t *frame, size_t length)
{
    size_t in = 0;
    size_t out = 0;
    size_t i;
    uint32_t crc = 0xFFFFFFFFu;
    if (length > 0u && frame[length - 1u] == 0u) {
        length--;
    }
    if (length >= TOCSIN_MAX_FRAME) {
        return 0;
    }
    while (in < length) {
        const uint8_t code = frame[in];
        const size_t stop = in + code;
        if (code == 0u || stop > length) {
            return 0;
        }
        for (in++; in < stop; in++) {
            if (frame[in] == 0u) {
                return 0;
            }
            frame[out] = frame[in];
            out++;
        }
        if (code != 0xFFu && in < length) {
            frame[out] = 0;
            out++;
        }
    }
    if (out < 5u || out > TOCSIN_MAX_PACKET) {
        return 0;
    }
    out -= 4u;
    for (i = 0; i < out; i++) {
        crc = tocsin_crc(crc, frame[i]);
    }
    return (tocsin_get(&frame[out], 4) == (uint32_t)~crc) ? out : 0u;
}
