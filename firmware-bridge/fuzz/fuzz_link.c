/* libFuzzer: arbitrary bytes into every reading function, and arbitrary use of every writing
 * function; written frames must be read back unchanged. */
#include <stdlib.h>
#include <string.h>

#include "tocsin_link.h"

#define REQUIRE(condition) \
    do {                   \
        if (!(condition)) { \
            abort();       \
        }                  \
    } while (0)

static int32_t values[255 * 16];

static void read_anything(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size + 1u);
    tocsin_samples samples;
    tocsin_hello hello;
    size_t body;
    REQUIRE(exact != NULL);
    memcpy(exact, data, size);
    (void)tocsin_decode_samples(exact, size, &samples, values, 255 * 16);
    (void)tocsin_decode_hello(exact, size, &hello);
    body = tocsin_unframe(exact, size);
    REQUIRE(body < size || size == 0u);
    free(exact);
}

static void write_and_read(const uint8_t *body, size_t size)
{
    uint8_t frame[TOCSIN_MAX_FRAME];
    const size_t length = tocsin_frame(body, size, frame, sizeof frame);
    REQUIRE((length > 0u) == (size >= 1u && size <= TOCSIN_MAX_BODY));
    if (length > 0u) {
        REQUIRE(memchr(frame, 0, length) == &frame[length - 1u]);
        REQUIRE(tocsin_unframe(frame, length) == size && memcmp(frame, body, size) == 0);
    }
}

typedef struct {
    const uint8_t *at;
    size_t left;
} script;

static uint8_t pull(script *s)
{
    if (s->left == 0u) {
        return 0;
    }
    s->left--;
    return *s->at++;
}

/* Every sent packet is intact; counters of a session only grow; values are those put in. */
static void check_frame(uint8_t *frame, size_t length, bool wide)
{
    static int32_t got[255 * 16];
    tocsin_samples samples;
    tocsin_hello hello;
    const size_t skip = (frame[0] == 0u) ? 1u : 0u;
    const size_t body = tocsin_unframe(frame + skip, length - skip);
    REQUIRE(body > 0u && length <= TOCSIN_MAX_FRAME + 1u);
    if (frame[skip] == TOCSIN_HELLO) {
        REQUIRE(tocsin_decode_hello(frame + skip, body, &hello));
    } else if (frame[skip] == TOCSIN_SAMPLES) {
        size_t k;
        REQUIRE(tocsin_decode_samples(frame + skip, body, &samples, got, 255 * 16));
        for (k = 0; k < (size_t)samples.count * samples.leads; k++) {
            const uint32_t counter = samples.counter + (uint32_t)(k / samples.leads);
            /* the value that case 0 to 2 below puts in for a counter and a lead */
            int32_t expected = (int32_t)((counter * 2654435761u) >> ((counter & 32u) ? 24 : 9)) -
                               (int32_t)(k % samples.leads);
            const int32_t limit = wide ? 8388607 : 32767;
            if (expected > limit || expected < -limit) {
                expected = TOCSIN_MISSING;
            }
            REQUIRE(got[k] == expected);
        }
    } else {
        /* events, alive packets, times */
    }
}

static void use_the_link(script *s)
{
    static const tocsin_lead names[16] = {{"1", 1, 0},  {"2", 1, 0},  {"3", 1, 0},  {"4", 1, 0},
                                          {"5", 1, 0},  {"6", 1, 0},  {"7", 1, 0},  {"8", 1, 0},
                                          {"9", 1, 0},  {"10", 1, 0}, {"11", 1, 0}, {"12", 1, 0},
                                          {"13", 1, 0}, {"14", 1, 0}, {"15", 1, 0}, {"16", 1, 0}};
    tocsin_stream stream = {"d", "", "", names, 250000, 0, 0, 0, 0, 1, 16, 1};
    tocsin_ring ring;
    tocsin_link link;
    uint32_t words[TOCSIN_RING_WORDS(4, 16)];
    int32_t *rows;
    uint8_t *outbox;
    size_t size = 50u + 8u * pull(s);
    uint32_t now = 0;
    bool good;
    stream.lead_count = (uint8_t)(1u + (pull(s) & 15u));
    stream.bits = (pull(s) & 1u) ? 24 : 16;
    stream.block = pull(s);
    stream.flags = (uint16_t)(pull(s) & 15u);
    stream.alive_ms = pull(s);
    rows = malloc(sizeof(int32_t) * (size_t)(stream.block ? stream.block : 1) * stream.lead_count);
    outbox = malloc(size);
    REQUIRE(rows != NULL && outbox != NULL);
    (void)tocsin_ring_init(&ring, words, 4, stream.lead_count);
    good = tocsin_link_init(&link, &stream, 1, &ring, rows, outbox, size);
    while (good && s->left > 0u) {
        const uint8_t what = pull(s);
        now += (uint32_t)pull(s) * 4096u;
        switch (what & 7u) {
        case 0:
        case 1:
        case 2: { /* samples whose values follow from their counter */
            uint32_t count = 1u + (what >> 3);
            for (; count > 0u; count--) {
                int32_t row[16];
                uint8_t k;
                const uint32_t c = ring.counter;
                for (k = 0; k < stream.lead_count; k++) {
                    row[k] = (int32_t)((c * 2654435761u) >> ((c & 32u) ? 24 : 9)) - (int32_t)k;
                }
                (void)tocsin_ring_put(&ring, now, row, pull(s) & 1u, 0, (c & 7u) == 3u);
                if ((what & 7u) != 2u) {
                    tocsin_poll(&link, (c & 63u) == 0u);
                }
            }
            break;
        }
        case 3:
        case 4: {
            uint8_t frame[TOCSIN_MAX_FRAME + 1u];
            const size_t room = (what & 128u) ? sizeof frame : pull(s);
            const size_t length = tocsin_next(&link, now, frame, room);
            REQUIRE(length <= room);
            if (length > 0u) {
                check_frame(frame, length, stream.bits == 24u);
            }
            break;
        }
        case 5: { /* an intact acknowledgement */
            uint8_t body[11] = {TOCSIN_ACK, (uint8_t)link.encoder.session, 0};
            uint8_t frame[32];
            const uint16_t base = (uint16_t)(link.encoder.sequence - (pull(s) & 63u));
            const uint16_t highest = (uint16_t)(base + (pull(s) & 63u));
            size_t k;
            body[3] = (uint8_t)base;
            body[4] = (uint8_t)(base >> 8);
            body[5] = (uint8_t)highest;
            body[6] = (uint8_t)(highest >> 8);
            for (k = 7; k < 11u; k++) {
                body[k] = pull(s);
            }
            tocsin_receive(&link, frame, tocsin_frame(body, 11, frame, sizeof frame), now);
            break;
        }
        case 6: { /* anything */
            const uint8_t byte = pull(s);
            tocsin_receive(&link, &byte, 1, now);
            break;
        }
        case 7:
            if ((what & 128u) != 0u) {
                tocsin_poll(&link, true);
                stream.alive_ms ^= 1u;
                REQUIRE(tocsin_link_change(&link, &stream, now));
                (void)tocsin_ring_init(&ring, words, 4, stream.lead_count);
                break;
            }
            (void)tocsin_event(&link, what, now, s->at, (s->left < 40u) ? s->left : 40u);
            break;
        default:
            break;
        }
    }
    free(rows);
    free(outbox);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    script s;
    if (size < 1u) {
        return 0;
    }
    s.at = data + 1;
    s.left = size - 1u;
    switch (data[0] & 3u) {
    case 0:
        read_anything(s.at, s.left);
        break;
    case 1:
        write_and_read(s.at, s.left);
        break;
    default:
        use_the_link(&s);
        break;
    }
    return 0;
}
