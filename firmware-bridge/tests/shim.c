/* A device behind flat functions, so that tests in other languages can drive the library. */
#include <stdlib.h>
#include <string.h>

#include "tocsin_link.h"

typedef struct {
    tocsin_stream stream;
    tocsin_lead leads[16];
    char names[16][16];
    char device[40], firmware[40], name[72];
    tocsin_ring ring;
    tocsin_link link;
    uint32_t *words;
    int32_t *rows;
    uint8_t *outbox;
} device;

static void describe(device *d, const char *const *texts, const char *const *names,
                     const uint32_t *steps, const int32_t *zeros, const int64_t *numbers)
{
    int k;
    strncpy(d->device, texts[0], sizeof d->device - 1);
    strncpy(d->firmware, texts[1], sizeof d->firmware - 1);
    strncpy(d->name, texts[2], sizeof d->name - 1);
    d->stream.device = d->device;
    d->stream.firmware = d->firmware;
    d->stream.stream = d->name;
    d->stream.leads = d->leads;
    d->stream.rate_mhz = (uint32_t)numbers[0];
    d->stream.lowest = (int32_t)numbers[1];
    d->stream.highest = (int32_t)numbers[2];
    d->stream.flags = (uint16_t)numbers[3];
    d->stream.alive_ms = (uint16_t)numbers[4];
    d->stream.lead_count = (uint8_t)numbers[5];
    d->stream.bits = (uint8_t)numbers[6];
    d->stream.block = (uint8_t)numbers[7];
    for (k = 0; k < (int)numbers[5]; k++) {
        strncpy(d->names[k], names[k], sizeof d->names[k] - 1);
        d->leads[k].name = d->names[k];
        d->leads[k].step_pv = steps[k];
        d->leads[k].zero = zeros[k];
    }
}

void shim_free(device *d)
{
    free(d->words);
    free(d->rows);
    free(d->outbox);
    free(d);
}

/* numbers: rate_mhz, lowest, highest, flags, alive_ms, leads, bits, block, session, slots, outbox */
device *shim_new(const char *const *texts, const char *const *names, const uint32_t *steps,
                 const int32_t *zeros, const int64_t *numbers)
{
    device *d = calloc(1, sizeof *d);
    const uint16_t slots = (uint16_t)numbers[9];
    if (d == NULL) {
        return NULL;
    }
    describe(d, texts, names, steps, zeros, numbers);
    d->words = calloc(TOCSIN_RING_WORDS(slots, 16u), sizeof(uint32_t));
    d->rows = calloc(255u * 16u, sizeof(int32_t));
    d->outbox = malloc((size_t)numbers[10]); /* exact size: a sanitizer detects the first byte beyond */
    if (!tocsin_ring_init(&d->ring, d->words, slots, d->stream.lead_count) ||
        !tocsin_link_init(&d->link, &d->stream, (uint32_t)numbers[8], &d->ring, d->rows, d->outbox,
                          (size_t)numbers[10])) {
        shim_free(d);
        return NULL;
    }
    return d;
}

int shim_change(device *d, const char *const *texts, const char *const *names,
                const uint32_t *steps, const int32_t *zeros, const int64_t *numbers, uint32_t now)
{
    const uint16_t slots = d->ring.slots;
    bool good;
    tocsin_poll(&d->link, true);
    describe(d, texts, names, steps, zeros, numbers);
    good = tocsin_link_change(&d->link, &d->stream, now);
    return tocsin_ring_init(&d->ring, d->words, slots, d->stream.lead_count) && good;
}

/* Sample `rows` rows of values, the first at `now`. */
int shim_put(device *d, uint32_t now, uint32_t period_us, const int32_t *values, uint32_t rows,
             uint16_t off, uint16_t saturated, int paced)
{
    uint32_t k;
    int kept = 0;
    for (k = 0; k < rows; k++) {
        kept += tocsin_ring_put(&d->ring, now + k * period_us,
                                &values[(size_t)k * d->stream.lead_count], off, saturated,
                                paced && k == 0u);
        tocsin_poll(&d->link, false);
    }
    return kept;
}

void shim_skip(device *d, uint32_t rows)
{
    d->ring.counter += rows;
}

void shim_poll(device *d, int flush)
{
    tocsin_poll(&d->link, flush != 0);
}

int shim_event(device *d, uint8_t kind, uint32_t now, const uint8_t *value, size_t length)
{
    return tocsin_event(&d->link, kind, now, value, length);
}

size_t shim_next(device *d, uint32_t now, uint8_t *out, size_t room)
{
    return tocsin_next(&d->link, now, out, room);
}

void shim_receive(device *d, const uint8_t *bytes, size_t length, uint32_t now)
{
    tocsin_receive(&d->link, bytes, length, now);
}

void shim_opened(device *d)
{
    tocsin_link_opened(&d->link);
}

/* The fields of the head, then the rows with a pacing pulse; values has head[5] * head[4] numbers. */
int shim_samples(const uint8_t *body, size_t length, int64_t *head, int32_t *values, size_t room)
{
    tocsin_samples s;
    uint8_t k;
    if (!tocsin_decode_samples(body, length, &s, values, room)) {
        return 0;
    }
    head[0] = s.session;
    head[1] = s.sequence;
    head[2] = s.counter;
    head[3] = s.time_us;
    head[4] = s.count;
    head[5] = s.leads;
    head[6] = s.bits;
    head[7] = s.off;
    head[8] = s.saturated;
    head[9] = s.paces;
    for (k = 0; k < s.paces && k < 15u; k++) {
        head[10 + k] = s.pace[k];
    }
    return 1;
}

static void copy_text(char *out, tocsin_text text)
{
    memcpy(out, text.at, text.length);
    out[text.length] = '\0';
}

/* texts: 19 of 80 bytes each: device, firmware, stream, then the names of leads */
int shim_hello(const uint8_t *body, size_t length, int64_t *numbers, int64_t *leads, char *texts)
{
    tocsin_hello h;
    uint8_t k;
    if (!tocsin_decode_hello(body, length, &h)) {
        return 0;
    }
    numbers[0] = h.session;
    numbers[1] = h.flags;
    numbers[2] = h.next;
    numbers[3] = h.oldest;
    numbers[4] = (int64_t)(((uint64_t)h.wraps << 32) | h.counter);
    numbers[5] = h.time_us;
    numbers[6] = h.rate_mhz;
    numbers[7] = h.alive_ms;
    numbers[8] = h.bits;
    numbers[9] = h.block;
    numbers[10] = h.lowest;
    numbers[11] = h.highest;
    numbers[12] = h.lead_count;
    copy_text(texts, h.device);
    copy_text(texts + 80, h.firmware);
    copy_text(texts + 160, h.stream);
    for (k = 0; k < h.lead_count; k++) {
        leads[2 * k] = h.lead[k].step_pv;
        leads[2 * k + 1] = h.lead[k].zero;
        copy_text(texts + 240 + 80 * k, h.lead[k].name);
    }
    return 1;
}
