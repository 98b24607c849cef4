/* Tests the library against the vectors, and a link with acknowledgements and little memory.
 * Needs no framework; prints what failed and where. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../vectors/vectors.h"
#include "tocsin_link.h"

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                           \
        }                                                                      \
    } while (0)

#define OUTBOX 600
#define SLOTS 8

static const tocsin_lead two_leads[] = {{"II", 48080, 0}, {"V1", 48080, 0}};
static const tocsin_stream stream = {"holter-17", "1.4.2", "",   two_leads, 250000, -32768, 32767,
                                     TOCSIN_LISTENS | TOCSIN_RESENDS, 1000, 2, 16, 10};

typedef struct {
    tocsin_ring ring;
    tocsin_link link;
    uint32_t words[TOCSIN_RING_WORDS(SLOTS, 2)];
    int32_t rows[10 * 2];
    uint8_t outbox[OUTBOX];
} bench;

static uint8_t out[TOCSIN_MAX_FRAME + 1];
static bool separated; /* whether a 0x00 came before the last frame */

static void start(bench *b, const tocsin_stream *s)
{
    CHECK(tocsin_ring_init(&b->ring, b->words, SLOTS, 2));
    CHECK(tocsin_link_init(&b->link, s, 1, &b->ring, b->rows, b->outbox, sizeof b->outbox));
    CHECK(tocsin_next(&b->link, 0, out, sizeof out) > 0u); /* hello */
}

static void sample(bench *b, int count)
{
    for (; count > 0; count--) {
        const int32_t values[2] = {count, -count};
        CHECK(tocsin_ring_put(&b->ring, b->ring.counter * 4000u, values, 0, 0, false));
        tocsin_poll(&b->link, false);
    }
}

/* Take the next frame; returns its type, and its sequence if it has one. */
static int next(bench *b, uint16_t *sequence)
{
    size_t length = tocsin_next(&b->link, 0, out, sizeof out);
    if (length == 0u) {
        return 0;
    }
    separated = out[0] == 0u; /* a hello or a resent packet: separated from noise */
    if (separated) {
        length--;
        memmove(out, &out[1], length);
    }
    CHECK(out[length - 1u] == 0u);
    CHECK(tocsin_unframe(out, length) > 0u);
    *sequence = (uint16_t)(out[3] | (out[4] << 8));
    return out[0];
}

static void acknowledge(bench *b, uint16_t from, uint16_t highest, uint32_t window)
{
    const uint8_t body[11] = {TOCSIN_ACK,
                              1,
                              0,
                              (uint8_t)from,
                              (uint8_t)(from >> 8),
                              (uint8_t)highest,
                              (uint8_t)(highest >> 8),
                              (uint8_t)window,
                              (uint8_t)(window >> 8),
                              (uint8_t)(window >> 16),
                              (uint8_t)(window >> 24)};
    uint8_t frame[32];
    const size_t length = tocsin_frame(body, sizeof body, frame, sizeof frame);
    size_t i;
    for (i = 0; i < length; i++) { /* byte by byte, as from a UART */
        tocsin_receive(&b->link, &frame[i], 1, 0);
    }
}

static void vectors_are_read_as_stated(void)
{
    static int32_t values[255 * 16];
    size_t k;
    for (k = 0; k < sizeof vectors / sizeof vectors[0]; k++) {
        uint8_t frame[2000];
        tocsin_samples samples;
        tocsin_hello hello;
        size_t length;
        memcpy(frame, vectors[k].frame, vectors[k].length);
        length = tocsin_unframe(frame, vectors[k].length);
        if ((length > 0u) != (vectors[k].what != 0u)) {
            fprintf(stderr, "vector %s\n", vectors[k].name);
            exit(1);
        }
        if (length > 0u) {
            const bool s = tocsin_decode_samples(frame, length, &samples, values, 255 * 16);
            const bool h = tocsin_decode_hello(frame, length, &hello);
            if (s != (vectors[k].what == TOCSIN_SAMPLES) || h != (vectors[k].what == TOCSIN_HELLO)) {
                fprintf(stderr, "vector %s\n", vectors[k].name);
                exit(1);
            }
        }
    }
}

static void too_little_room_is_refused_without_overrun(void)
{
    bench b;
    size_t whole;
    size_t room;
    start(&b, &stream);
    whole = tocsin_encode_hello(&b.link.encoder, 0, 0, out, sizeof out);
    for (room = 0; room < whole; room++) {
        uint8_t *exact = malloc(room + 1u); /* a sanitizer detects the first byte beyond */
        CHECK(exact != NULL);
        CHECK(tocsin_encode_hello(&b.link.encoder, 0, 0, exact, room) == 0u);
        free(exact);
    }
}

static void a_full_ring_drops_and_counts_samples(void)
{
    bench b;
    const int32_t values[2] = {1, 2};
    uint16_t sequence;
    int k;
    start(&b, &stream);
    for (k = 0; k < SLOTS; k++) {
        CHECK(tocsin_ring_put(&b.ring, 0, values, 0, 0, false));
    }
    CHECK(!tocsin_ring_put(&b.ring, 0, values, 0, 0, false));
    tocsin_poll(&b.link, true);
    CHECK(tocsin_ring_put(&b.ring, 0, values, 0, 0, false));
    tocsin_poll(&b.link, true);
    CHECK(b.link.lost == 1u);
    CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == 0u && out[13] == SLOTS);
    CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == 1u && out[5] == SLOTS + 1);
}

static void only_unacknowledged_packets_are_resent(void)
{
    bench b;
    uint16_t sequence;
    uint16_t k;
    start(&b, &stream);
    sample(&b, 50);
    for (k = 0; k < 5u; k++) {
        CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == k && !separated);
    }
    CHECK(next(&b, &sequence) == 0);
    acknowledge(&b, 1, 5, 0x5); /* 0, 2 and 4 arrived */
    CHECK(b.link.kept == 4u);
    CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == 1u && separated);
    CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == 3u && separated);
    CHECK(next(&b, &sequence) == 0);
    acknowledge(&b, 9, 9, 0); /* of packets that were never sent */
    CHECK(b.link.kept == 4u);
    acknowledge(&b, 5, 5, 0);
    CHECK(b.link.kept == 0u);
}

static void a_full_outbox_keeps_the_newest_packets(void)
{
    bench b;
    uint16_t sequence;
    uint16_t first;
    uint16_t k;
    start(&b, &stream);
    sample(&b, 1000); /* 100 packets, none is sent */
    CHECK(next(&b, &first) == TOCSIN_SAMPLES);
    CHECK(first > 80u);
    for (k = (uint16_t)(first + 1u); k < 100u; k++) {
        CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == k);
    }
    CHECK(next(&b, &sequence) == 0);
    sample(&b, 5000); /* again, across the end of memory many times */
    CHECK(next(&b, &first) == TOCSIN_SAMPLES && first > 580u);
    acknowledge(&b, first, (uint16_t)(first + 1u), 0);
    CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == first);
}

static void a_new_hello_separates_old_and_new_sessions(void)
{
    bench b;
    tocsin_stream slower = stream;
    uint16_t sequence;
    start(&b, &stream);
    sample(&b, 15);
    slower.rate_mhz = 125000;
    tocsin_poll(&b.link, true);
    CHECK(tocsin_link_change(&b.link, &slower, 0));
    CHECK(tocsin_ring_init(&b.ring, b.words, SLOTS, 2));
    sample(&b, 10);
    CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == 0u && out[1] == 1u);
    CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == 1u && out[1] == 1u);
    CHECK(next(&b, &sequence) == TOCSIN_HELLO && out[1] == 2u);
    CHECK(next(&b, &sequence) == TOCSIN_SAMPLES && sequence == 2u && out[1] == 2u && out[5] == 0u);
}

static void noise_from_the_gateway_has_no_effect(void)
{
    bench b;
    uint32_t seed = 1;
    uint32_t k;
    start(&b, &stream);
    for (k = 0; k < 200000u; k++) {
        uint8_t byte;
        seed = seed * 1664525u + 1013904223u;
        byte = (uint8_t)((seed >> 24) & (((seed >> 9) & 7u) ? 0xFFu : 0u));
        tocsin_receive(&b.link, &byte, 1, k);
    }
    CHECK(b.link.pending == 0u);
    acknowledge(&b, 0, 0, 0);
}

static void streams_outside_the_limits_are_refused(void)
{
    bench b;
    tocsin_stream wrong = stream;
    CHECK(tocsin_ring_init(&b.ring, b.words, SLOTS, 2));
    wrong.block = 255;
    CHECK(!tocsin_link_init(&b.link, &wrong, 1, &b.ring, b.rows, b.outbox, sizeof b.outbox));
    wrong = stream;
    wrong.device = "";
    CHECK(!tocsin_link_init(&b.link, &wrong, 1, &b.ring, b.rows, b.outbox, sizeof b.outbox));
    wrong = stream;
    wrong.stream = "a name of a recording that is too long to fit into its sixty-four bytes";
    CHECK(!tocsin_link_init(&b.link, &wrong, 1, &b.ring, b.rows, b.outbox, sizeof b.outbox));
    CHECK(!tocsin_link_init(&b.link, &stream, 1, &b.ring, b.rows, b.outbox, 50));
    CHECK(!tocsin_ring_init(&b.ring, b.words, 6, 2));
}

int main(void)
{
    vectors_are_read_as_stated();
    too_little_room_is_refused_without_overrun();
    a_full_ring_drops_and_counts_samples();
    only_unacknowledged_packets_are_resent();
    a_full_outbox_keeps_the_newest_packets();
    a_new_hello_separates_old_and_new_sessions();
    noise_from_the_gateway_has_no_effect();
    streams_outside_the_limits_are_refused();
    printf("the device library: all tests passed\n");
    return 0;
}
