/* The device side of the tocsin link protocol (PROTOCOL.md).
 *
 * C99. No allocation, no libc, no globals: the caller owns every byte of state. Nothing blocks.
 * Only tocsin_ring_put() may be called from an interrupt; call everything else from one thread or
 * main loop.
 *
 *   sampling interrupt                 main loop
 *   tocsin_ring_put(&ring, ...)  --->  tocsin_poll(&link, now)       samples become packets
 *                                      tocsin_next(&link, now, ...)  packets become bytes to send
 *                                      tocsin_receive(&link, ...)    bytes from the gateway
 */
#ifndef TOCSIN_LINK_H
#define TOCSIN_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TOCSIN_VERSION 1u
#define TOCSIN_MAX_PACKET 640u
#define TOCSIN_MAX_BODY 636u
#define TOCSIN_MAX_FRAME 644u
#define TOCSIN_MAX_LEADS 16u
#define TOCSIN_MAX_PACES 15u
#define TOCSIN_MAX_KEPT 16384u
#define TOCSIN_MISSING INT32_MIN /* a missing sample */

enum tocsin_type {
    TOCSIN_HELLO = 0x01,
    TOCSIN_SAMPLES = 0x02,
    TOCSIN_EVENT = 0x03,
    TOCSIN_ALIVE = 0x04,
    TOCSIN_TIME = 0x05,
    TOCSIN_ASK_HELLO = 0x81,
    TOCSIN_ACK = 0x82,
    TOCSIN_ASK_TIME = 0x83
};

enum tocsin_flag {
    TOCSIN_LISTENS = 1,   /* bytes from the gateway reach tocsin_receive() */
    TOCSIN_RESENDS = 2,   /* packets are kept in the outbox until acknowledged */
    TOCSIN_SYNTHETIC = 4, /* the samples are not from a patient */
    TOCSIN_NOMINAL = 8    /* gains are not calibrated */
};

enum tocsin_event_kind { TOCSIN_BUTTON = 1, TOCSIN_BATTERY = 2, TOCSIN_IMPEDANCE = 3, TOCSIN_FAULT = 4 };

/* ---- description of the device; may be in flash --------------------------------------------- */

typedef struct {
    const char *name; /* "II"; at most 12 bytes */
    uint32_t step_pv; /* picovolts in a count: 1e9 / (counts in a millivolt) */
    int32_t zero;     /* the count that stands for 0 mV */
} tocsin_lead;

typedef struct {
    const char *device;   /* unique; at most 32 bytes */
    const char *firmware; /* at most 32 bytes */
    const char *stream;   /* name of a recording, else ""; at most 64 bytes */
    const tocsin_lead *leads;
    uint32_t rate_mhz; /* samples per second, times 1000 */
    int32_t lowest;    /* limits of the converter; both 0 if not known */
    int32_t highest;
    uint16_t flags;     /* enum tocsin_flag */
    uint16_t alive_ms;  /* longest time without a packet; 0: no limit */
    uint8_t lead_count; /* 1 to 16 */
    uint8_t bits;       /* 16 or 24 */
    uint8_t block;      /* samples of a full packet; 100 ms is a good value */
} tocsin_stream;

/* ---- ring: from the sampling interrupt to the main loop ------------------------------------ */

/* One sampling instant. */
typedef struct {
    uint32_t counter;
    uint32_t time_us;
    uint16_t off;       /* one bit per lead: electrode off */
    uint16_t saturated; /* one bit per lead: front end overloaded */
    bool paced;         /* a pacing pulse was detected */
} tocsin_instant;

/* Words of memory for a ring of `slots` sampling instants; `slots` is a power of two, 2 to 32768. */
#define TOCSIN_RING_WORDS(slots, leads) ((size_t)(slots) * (4u + (size_t)(leads)))

typedef struct {
    uint32_t *words;
    uint16_t slots;
    uint8_t leads;
    volatile uint16_t head;   /* written by the interrupt only */
    volatile uint16_t tail;   /* written by the main loop only */
    volatile uint32_t counter; /* samples taken, including lost ones; interrupt only */
} tocsin_ring;

bool tocsin_ring_init(tocsin_ring *ring, uint32_t *words, uint16_t slots, uint8_t leads);

/* Store one sampling instant. False if the ring is full: the instant is lost, and counted.
 * Wait-free; safe in an interrupt with one reader outside it. */
bool tocsin_ring_put(tocsin_ring *ring, uint32_t time_us, const int32_t *values, uint16_t off,
                     uint16_t saturated, bool paced);

/* Return the values of the oldest instant, NULL if there is none; then drop it. */
const int32_t *tocsin_ring_peek(const tocsin_ring *ring, tocsin_instant *instant);
void tocsin_ring_drop(tocsin_ring *ring);

/* ---- encoder: from samples to frames ------------------------------------------------------- */

typedef struct {
    const tocsin_stream *stream;
    int32_t *rows; /* owned by the caller: block x lead_count */
    uint32_t session;
    uint32_t wraps;   /* high word of the counter */
    uint32_t counter; /* of the next sample */
    uint32_t first;   /* counter of rows[0] */
    uint32_t time_us; /* of rows[0] */
    uint16_t sequence;
    uint16_t off;
    uint16_t saturated;
    uint8_t count; /* rows held */
    uint8_t paces;
    uint8_t pace[TOCSIN_MAX_PACES];
} tocsin_encoder;

/* Begin a session; `sequence` is 0 or continues that of the previous session. False if the stream
 * is outside the limits of the protocol. */
bool tocsin_encoder_init(tocsin_encoder *encoder, const tocsin_stream *stream, int32_t *rows,
                         uint32_t session, uint16_t sequence);

/* Add one instant. False if the stored rows must be sent first: encode them, and add it again. */
bool tocsin_encoder_add(tocsin_encoder *encoder, const tocsin_instant *instant,
                        const int32_t *values);

/* Each function writes one frame, ended by 0x00, and returns its length; 0 if `room` is too small or
 * there is nothing to send. A frame has at most TOCSIN_MAX_FRAME bytes. */
size_t tocsin_encode_samples(tocsin_encoder *encoder, uint8_t *out, size_t room);
size_t tocsin_encode_event(tocsin_encoder *encoder, uint8_t kind, uint32_t now_us,
                           const uint8_t *value, size_t length, uint8_t *out, size_t room);
size_t tocsin_encode_hello(const tocsin_encoder *encoder, uint16_t oldest, uint32_t now_us,
                           uint8_t *out, size_t room);
size_t tocsin_encode_alive(const tocsin_encoder *encoder, uint16_t oldest, uint32_t lost,
                           uint32_t now_us, uint8_t *out, size_t room);
size_t tocsin_encode_time(const tocsin_encoder *encoder, uint32_t token, uint32_t received_us,
                          uint32_t now_us, uint8_t *out, size_t room);

/* Frame any body, such as a vendor's packet. */
size_t tocsin_frame(const uint8_t *body, size_t length, uint8_t *out, size_t room);

/* ---- link: encoder, outbox, answers to the gateway ----------------------------------------- */

#define TOCSIN_INBOX 32u /* the longest frame of a gateway that is accepted */

typedef struct {
    tocsin_encoder encoder;
    tocsin_ring *ring;
    uint8_t *outbox; /* owned by the caller: packets not yet sent or not yet acknowledged */
    uint32_t size;
    uint32_t head;   /* offset of the next packet */
    uint32_t oldest; /* offset of the oldest packet */
    uint32_t unsent; /* offset of the oldest packet that was never sent */
    uint32_t end;    /* end of the last packet before the wrap, if wrapped */
    uint32_t lost;   /* samples that the ring lost in this session */
    uint32_t spoke_us;
    uint32_t hello_us;
    uint32_t token;
    uint32_t asked_us;
    uint16_t kept;    /* packets in the outbox */
    uint16_t waiting; /* of these, never sent */
    uint16_t again;   /* of these, to be sent again */
    uint8_t pending;  /* answers to send */
    uint8_t inbox_length;
    uint8_t inbox[TOCSIN_INBOX];
} tocsin_link;

/* Begin. `outbox` holds at least one frame and 6 bytes; a second of packets is a sensible minimum.
 * Its size is the retention while the link is down. */
bool tocsin_link_init(tocsin_link *link, const tocsin_stream *stream, uint32_t session,
                      tocsin_ring *ring, int32_t *rows, uint8_t *outbox, size_t size);

/* Change leads, rate or gains. Call tocsin_poll() with `flush` before it and tocsin_ring_init()
 * after it. The session number goes up by one. */
bool tocsin_link_change(tocsin_link *link, const tocsin_stream *stream, uint32_t now_us);

/* Turn the contents of the ring into packets; `flush` also sends a packet that is not full. */
void tocsin_poll(tocsin_link *link, bool flush);

/* Send an event; false if the outbox cannot hold it. */
bool tocsin_event(tocsin_link *link, uint8_t kind, uint32_t now_us, const uint8_t *value,
                  size_t length);

/* Write the next frame to send and return its length, or 0 if none is due. Call it again until it
 * returns 0, and only when the frame can be sent: frames that are not fetched stay in the outbox.
 * One 0x00 may come before the frame, so `room` is TOCSIN_MAX_FRAME + 1. */
size_t tocsin_next(tocsin_link *link, uint32_t now_us, uint8_t *out, size_t room);

/* Take bytes from the gateway, cut anywhere. */
void tocsin_receive(tocsin_link *link, const uint8_t *bytes, size_t length, uint32_t now_us);

/* The link was opened again: send a new hello. */
void tocsin_link_opened(tocsin_link *link);

/* ---- decoder: for gateways and tests in C; not needed on a device --------------------------- */

/* Decode a frame (with or without its 0x00) in place and check it. Returns the length of the body,
 * 0 if the frame is corrupt. */
size_t tocsin_unframe(uint8_t *frame, size_t length);

typedef struct {
    uint16_t session, sequence;
    uint32_t counter, time_us;
    uint8_t count, leads, bits, paces;
    uint16_t off, saturated;
    const uint8_t *pace; /* into the body */
} tocsin_samples;

/* Read a body of type SAMPLES into values[count][leads]. False if it does not follow the protocol or
 * `room` is too small. */
bool tocsin_decode_samples(const uint8_t *body, size_t length, tocsin_samples *samples,
                           int32_t *values, size_t room);

typedef struct {
    const char *at; /* into the body, not ended by 0 */
    uint8_t length;
} tocsin_text;

typedef struct {
    uint32_t session, time_us, rate_mhz, counter, wraps;
    int32_t lowest, highest;
    uint16_t flags, next, oldest, alive_ms;
    uint8_t version, bits, block, lead_count;
    tocsin_text device, firmware, stream;
    struct {
        uint32_t step_pv;
        int32_t zero;
        tocsin_text name;
    } lead[TOCSIN_MAX_LEADS];
} tocsin_hello;

/* Read a body of type HELLO; false if it does not follow the protocol. */
bool tocsin_decode_hello(const uint8_t *body, size_t length, tocsin_hello *hello);

#ifdef __cplusplus
}
#endif
#endif
