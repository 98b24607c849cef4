/* A ring buffer with one producer, in an interrupt, and one consumer, outside it.
 *
 * One side writes each index and the other reads it in a single access. The indices are not
 * wrapped but masked when used, so that full and empty differ. A slot is
 * [counter, time, off | saturated << 16, paced, values ...]. */
#include "tocsin_link.h"

/* Data must be in memory before the index that publishes it. A compiler barrier is enough on one core
 * whose write buffer does not reorder (Cortex-M0 to M4); hosts get a full barrier. */
#ifndef TOCSIN_BARRIER
#if defined(__GNUC__) && defined(__arm__) && defined(__ARM_ARCH_PROFILE) && \
    (__ARM_ARCH_PROFILE == 'M')
#define TOCSIN_BARRIER() __asm__ volatile("" ::: "memory")
#elif defined(__GNUC__)
#define TOCSIN_BARRIER() __sync_synchronize()
#else
#error "define TOCSIN_BARRIER() for this compiler"
#endif
#endif

bool tocsin_ring_init(tocsin_ring *ring, uint32_t *words, uint16_t slots, uint8_t leads)
{
    const bool power = slots >= 2u && slots <= 32768u && ((slots & (slots - 1u)) == 0u);
    ring->words = words;
    ring->slots = slots;
    ring->leads = leads;
    ring->head = 0;
    ring->tail = 0;
    ring->counter = 0;
    return power && leads >= 1u && leads <= TOCSIN_MAX_LEADS;
}

static uint32_t *slot(const tocsin_ring *ring, uint16_t index)
{
    const size_t at = (size_t)index & (size_t)(ring->slots - 1u);
    return &ring->words[TOCSIN_RING_WORDS(at, ring->leads)];
}

bool tocsin_ring_put(tocsin_ring *ring, uint32_t time_us, const int32_t *values, uint16_t off,
                     uint16_t saturated, bool paced)
{
    const uint16_t head = ring->head;
    const uint32_t counter = ring->counter;
    const bool room = (uint16_t)(head - ring->tail) < ring->slots;
    ring->counter = counter + 1u;
    if (room) {
        uint32_t *words = slot(ring, head);
        uint8_t k;
        words[0] = counter;
        words[1] = time_us;
        words[2] = (uint32_t)off | ((uint32_t)saturated << 16);
        words[3] = paced ? 1u : 0u;
        for (k = 0; k < ring->leads; k++) {
            words[4u + k] = (uint32_t)values[k];
        }
        TOCSIN_BARRIER();
        ring->head = (uint16_t)(head + 1u);
    }
    return room;
}

const int32_t *tocsin_ring_peek(const tocsin_ring *ring, tocsin_instant *instant)
{
    const uint16_t tail = ring->tail;
    const uint32_t *words;
    if (ring->head == tail) {
        return NULL;
    }
    TOCSIN_BARRIER();
    words = slot(ring, tail);
    instant->counter = words[0];
    instant->time_us = words[1];
    instant->off = (uint16_t)(words[2] & 0xFFFFu);
    instant->saturated = (uint16_t)(words[2] >> 16);
    instant->paced = words[3] != 0u;
    return (const int32_t *)&words[4]; /* the signed type may alias the unsigned one */
}

void tocsin_ring_drop(tocsin_ring *ring)
{
    TOCSIN_BARRIER();
    ring->tail = (uint16_t)(ring->tail + 1u);
}
