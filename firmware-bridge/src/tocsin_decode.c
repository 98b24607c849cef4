/* Decodes bodies into samples, for gateways and tests in C. */
#include "tocsin_frame.h"

static int32_t get_signed(const uint8_t *at, uint8_t bytes)
{
    const uint32_t sign = (uint32_t)1u << (8u * bytes - 1u);
    uint32_t value = tocsin_get(at, bytes);
    if ((value & sign) == 0u) {
        return (int32_t)value;
    }
    value |= ~((sign - 1u) | sign);
    return -(int32_t)~value - 1;
}

static size_t lead_bytes(uint8_t code, uint8_t count, uint8_t width)
{
    const size_t steps = (size_t)count - 1u;
    size_t bytes = 0;
    switch (code) {
    case 0:
        bytes = (size_t)count * width;
        break;
    case 1:
        bytes = width + steps;
        break;
    case 2:
        bytes = width + (2u * steps);
        break;
    default:
        break;
    }
    return bytes;
}

static void read_lead(const uint8_t *at, uint8_t code, const tocsin_samples *s, uint8_t width,
                      int32_t *out)
{
    const int32_t limit = (width == 3u) ? 8388607 : 32767;
    int32_t value = 0;
    uint8_t i;
    for (i = 0; i < s->count; i++) {
        if (code == 3u) {
            value = TOCSIN_MISSING;
        } else if (code == 0u || i == 0u) {
            value = get_signed(at, width);
            at += width;
        } else {
            value += get_signed(at, code);
            at += code;
        }
        *out = (value >= -limit && value <= limit) ? value : TOCSIN_MISSING;
        out += s->leads;
    }
}

static bool read_sections(const uint8_t *body, size_t length, size_t at, uint8_t marks,
                          tocsin_samples *s)
{
    if ((marks & 1u) != 0u) {
        if (at + 2u > length) {
            return false;
        }
        s->off = (uint16_t)tocsin_get(&body[at], 2);
        at += 2u;
    }
    if ((marks & 2u) != 0u) {
        if (at + 2u > length) {
            return false;
        }
        s->saturated = (uint16_t)tocsin_get(&body[at], 2);
        at += 2u;
    }
    if ((marks & 4u) != 0u) {
        if (at >= length || at + 1u + body[at] > length) {
            return false;
        }
        s->paces = body[at];
        s->pace = &body[at + 1u];
    }
    return true;
}

bool tocsin_decode_samples(const uint8_t *body, size_t length, tocsin_samples *s, int32_t *values,
                           size_t room)
{
    uint8_t width;
    uint8_t k;
    size_t at;
    if (length < 17u || body[0] != (uint8_t)TOCSIN_SAMPLES || body[13] == 0u ||
        (body[14] & 0xE0u) != 0u) {
        return false;
    }
    s->session = (uint16_t)tocsin_get(&body[1], 2);
    s->sequence = (uint16_t)tocsin_get(&body[3], 2);
    s->counter = tocsin_get(&body[5], 4);
    s->time_us = tocsin_get(&body[9], 4);
    s->count = body[13];
    s->leads = (uint8_t)((body[14] & 0x0Fu) + 1u);
    s->bits = ((body[14] & 0x10u) != 0u) ? 24u : 16u;
    s->off = 0;
    s->saturated = 0;
    s->paces = 0;
    s->pace = NULL;
    width = (s->bits == 24u) ? 3u : 2u;
    at = 16u + ((size_t)(s->leads + 3u) / 4u);
    if (length < at || (size_t)s->count * s->leads > room) {
        return false;
    }
    for (k = 0; k < s->leads; k++) {
        const uint8_t code = (uint8_t)(((uint32_t)body[16u + (k / 4u)] >> (2u * (k % 4u))) & 3u);
        const size_t bytes = lead_bytes(code, s->count, width);
        if (at + bytes > length) {
            return false;
        }
        read_lead(&body[at], code, s, width, &values[k]);
        at += bytes;
    }
    return read_sections(body, length, at, body[15], s);
}

static bool read_text(const uint8_t *body, size_t length, size_t *at, uint8_t most,
                      tocsin_text *text)
{
    if (*at >= length || body[*at] > most || *at + 1u + body[*at] > length) {
        return false;
    }
    text->length = body[*at];
    text->at = (const char *)&body[*at + 1u];
    *at += 1u + (size_t)text->length;
    return true;
}

bool tocsin_decode_hello(const uint8_t *body, size_t length, tocsin_hello *h)
{
    size_t at = 43;
    uint8_t k;
    if (length < at || body[0] != (uint8_t)TOCSIN_HELLO || body[3] != TOCSIN_VERSION) {
        return false;
    }
    h->version = body[3];
    h->flags = (uint16_t)tocsin_get(&body[5], 2);
    h->session = tocsin_get(&body[7], 4);
    h->next = (uint16_t)tocsin_get(&body[11], 2);
    h->oldest = (uint16_t)tocsin_get(&body[13], 2);
    h->counter = tocsin_get(&body[15], 4);
    h->wraps = tocsin_get(&body[19], 4);
    h->time_us = tocsin_get(&body[23], 4);
    h->rate_mhz = tocsin_get(&body[27], 4);
    h->alive_ms = (uint16_t)tocsin_get(&body[31], 2);
    h->bits = body[33];
    h->block = body[34];
    h->lowest = get_signed(&body[35], 4);
    h->highest = get_signed(&body[39], 4);
    if (!read_text(body, length, &at, 32, &h->device) ||
        !read_text(body, length, &at, 32, &h->firmware) ||
        !read_text(body, length, &at, 64, &h->stream) || at >= length) {
        return false;
    }
    h->lead_count = body[at];
    at++;
    if (h->lead_count < 1u || h->lead_count > TOCSIN_MAX_LEADS) {
        return false;
    }
    for (k = 0; k < h->lead_count; k++) {
        if (at + 8u > length) {
            return false;
        }
        h->lead[k].step_pv = tocsin_get(&body[at], 4);
        h->lead[k].zero = get_signed(&body[at + 4u], 4);
        at += 8u;
        if (!read_text(body, length, &at, 12, &h->lead[k].name)) {
            return false;
        }
    }
    return tocsin_get(&body[1], 2) == (h->session & 0xFFFFu) && (h->bits == 16u || h->bits == 24u);
}
