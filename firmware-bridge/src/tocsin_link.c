/* One link: packets wait in the outbox until they are sent or acknowledged.
 *
 * The outbox is a ring of whole entries, [length u16, sequence u16, state u8, 0, frame]; no entry
 * is split at the end of memory. From the oldest on come the packets that were sent and may be
 * requested again, then those that were never sent. */
#include "tocsin_frame.h"

#define HEAD 6u
#define AGAIN 1u      /* requested again */
#define UNNUMBERED 2u /* a hello among the packets: it has the sequence of the next packet */

#define SAY_HELLO 1u
#define SAY_TIME 2u

#define HELLO_EVERY_US 5000000u /* for a device that cannot receive a request for it */
#define UNWRAPPED UINT32_MAX
#define INBOX_OVERFLOW 255u

static bool flagged(const tocsin_link *link, uint16_t flag)
{
    return (link->encoder.stream->flags & flag) != 0u;
}

static uint16_t sequence_at(const tocsin_link *link, uint32_t at)
{
    return (uint16_t)tocsin_get(&link->outbox[at + 2u], 2);
}

static uint32_t after(const tocsin_link *link, uint32_t at)
{
    const uint32_t next = at + HEAD + tocsin_get(&link->outbox[at], 2);
    return (next == link->end) ? 0u : next;
}

static void empty(tocsin_link *link)
{
    link->head = 0;
    link->oldest = 0;
    link->unsent = 0;
    link->end = UNWRAPPED;
    link->kept = 0;
    link->waiting = 0;
    link->again = 0;
}

static void drop_oldest(tocsin_link *link)
{
    const uint32_t next = after(link, link->oldest);
    if ((link->outbox[link->oldest + 4u] & AGAIN) != 0u) {
        link->again--;
    }
    if (link->waiting == link->kept) {
        link->waiting--;
        link->unsent = next;
    }
    if (next < link->oldest) {
        link->end = UNWRAPPED;
    }
    link->oldest = next;
    link->kept--;
    if (link->kept == 0u) {
        empty(link);
    }
}

/* Free `need` contiguous bytes at the head by dropping the oldest packets. */
static bool make_room(tocsin_link *link, uint32_t need)
{
    if (need > link->size) {
        return false;
    }
    while (link->kept > 0u) {
        const bool wrapped = link->head <= link->oldest;
        if (link->kept < TOCSIN_MAX_KEPT) {
            if (wrapped ? (link->oldest - link->head >= need)
                        : (link->size - link->head >= need)) {
                return true;
            }
            if (!wrapped && link->oldest >= need) {
                link->end = link->head;
                link->head = 0;
                return true;
            }
        }
        drop_oldest(link);
    }
    return true;
}

static void append(tocsin_link *link, size_t length, uint16_t sequence, uint8_t state)
{
    uint8_t *entry = &link->outbox[link->head];
    entry[0] = (uint8_t)(length & 0xFFu);
    entry[1] = (uint8_t)(length >> 8);
    entry[2] = (uint8_t)(sequence & 0xFFu);
    entry[3] = (uint8_t)(sequence >> 8);
    entry[4] = state;
    entry[5] = 0;
    if (link->waiting == 0u) {
        link->unsent = link->head;
    }
    link->head += HEAD + (uint32_t)length;
    link->kept++;
    link->waiting++;
}

static uint8_t *place(tocsin_link *link)
{
    return &link->outbox[link->head + HEAD];
}

static uint16_t oldest_sequence(const tocsin_link *link)
{
    uint32_t at = link->oldest;
    uint16_t left = link->kept;
    while (left > 0u && (link->outbox[at + 4u] & UNNUMBERED) != 0u) {
        at = after(link, at);
        left--;
    }
    return (left > 0u) ? sequence_at(link, at) : link->encoder.sequence;
}

static uint32_t longest_frame(const tocsin_stream *stream)
{
    const uint32_t width = (stream->bits == 24u) ? 3u : 2u;
    const uint32_t bytes = 50u + ((uint32_t)stream->lead_count * stream->block * width);
    return (bytes < TOCSIN_MAX_FRAME) ? bytes : TOCSIN_MAX_FRAME;
}

static void emit(tocsin_link *link)
{
    const uint16_t sequence = link->encoder.sequence;
    const uint32_t most = longest_frame(link->encoder.stream);
    size_t length;
    if (link->encoder.count > 0u && make_room(link, HEAD + most)) {
        length = tocsin_encode_samples(&link->encoder, place(link), most);
        if (length > 0u) {
            append(link, length, sequence, 0);
        }
    }
}

bool tocsin_link_init(tocsin_link *link, const tocsin_stream *stream, uint32_t session,
                      tocsin_ring *ring, int32_t *rows, uint8_t *outbox, size_t size)
{
    link->ring = ring;
    link->outbox = outbox;
    link->size = (size < 0x7FFFFFFFu) ? (uint32_t)size : 0x7FFFFFFFu;
    link->lost = 0;
    link->spoke_us = 0;
    link->hello_us = 0;
    link->token = 0;
    link->asked_us = 0;
    link->pending = SAY_HELLO;
    link->inbox_length = 0;
    empty(link);
    return tocsin_encoder_init(&link->encoder, stream, rows, session, 0) &&
           link->size >= HEAD + longest_frame(stream) && ring->leads == stream->lead_count;
}

bool tocsin_link_change(tocsin_link *link, const tocsin_stream *stream, uint32_t now_us)
{
    tocsin_encoder *e = &link->encoder;
    const uint32_t most = 186u + (21u * stream->lead_count); /* of a hello */
    size_t length;
    bool good;
    emit(link);
    while (link->kept > link->waiting) { /* of the old session: never requested again */
        drop_oldest(link);
    }
    good = tocsin_encoder_init(e, stream, e->rows, e->session + 1u, e->sequence) &&
           link->size >= HEAD + longest_frame(stream);
    link->lost = 0;
    if (good && make_room(link, HEAD + most)) {
        length = tocsin_encode_hello(e, e->sequence, now_us, place(link), most);
        append(link, length, e->sequence, UNNUMBERED);
    } else {
        link->pending |= SAY_HELLO;
    }
    return good;
}

void tocsin_link_opened(tocsin_link *link)
{
    link->pending |= SAY_HELLO;
    link->inbox_length = 0;
}

void tocsin_poll(tocsin_link *link, bool flush)
{
    tocsin_encoder *e = &link->encoder;
    tocsin_instant instant;
    const int32_t *values;
    while ((values = tocsin_ring_peek(link->ring, &instant)) != NULL) {
        const uint32_t lost = instant.counter - e->counter;
        if (!tocsin_encoder_add(e, &instant, values)) {
            emit(link);
            e->count = 0; /* already 0, unless the outbox could not take the packet */
            (void)tocsin_encoder_add(e, &instant, values);
        }
        link->lost += lost;
        tocsin_ring_drop(link->ring);
        if (e->count == e->stream->block) {
            emit(link);
        }
    }
    if (flush) {
        emit(link);
    }
}

bool tocsin_event(tocsin_link *link, uint8_t kind, uint32_t now_us, const uint8_t *value,
                  size_t length)
{
    const uint16_t sequence = link->encoder.sequence;
    size_t written = 0;
    if (length <= 256u && make_room(link, HEAD + 24u + (uint32_t)length)) {
        written = tocsin_encode_event(&link->encoder, kind, now_us, value, length, place(link),
                                      24u + length);
        if (written > 0u) {
            append(link, written, sequence, 0);
        }
    }
    return written > 0u;
}

static size_t copy_out(const tocsin_link *link, uint32_t at, uint8_t *out, size_t room)
{
    const size_t length = tocsin_get(&link->outbox[at], 2);
    size_t i;
    if (length > room) {
        return 0;
    }
    for (i = 0; i < length; i++) {
        out[i] = link->outbox[at + HEAD + i];
    }
    return length;
}

static size_t next_again(tocsin_link *link, uint8_t *out, size_t room)
{
    uint32_t at = link->oldest;
    size_t length;
    while ((link->outbox[at + 4u] & AGAIN) == 0u) {
        at = after(link, at);
    }
    length = (room > 1u) ? copy_out(link, at, &out[1], room - 1u) : 0u;
    if (length > 0u) {
        out[0] = 0; /* separates the frame from noise before it, which damaged it once */
        length++;
        link->outbox[at + 4u] &= (uint8_t)~AGAIN;
        link->again--;
    }
    return length;
}

static size_t next_waiting(tocsin_link *link, uint8_t *out, size_t room)
{
    const size_t length = copy_out(link, link->unsent, out, room);
    if (length > 0u) {
        const bool keep = flagged(link, TOCSIN_RESENDS);
        if (!keep) {
            drop_oldest(link); /* without resending, the oldest is the one just sent */
        } else {
            link->unsent = after(link, link->unsent);
            link->waiting--;
        }
    }
    return length;
}

static size_t next_hello(tocsin_link *link, uint32_t now_us, uint8_t *out, size_t room)
{
    size_t length = 0;
    if (room > 1u) {
        out[0] = 0; /* ends any noise before it */
        length = tocsin_encode_hello(&link->encoder, oldest_sequence(link), now_us, &out[1],
                                     room - 1u);
    }
    if (length > 0u) {
        length++;
        link->pending &= (uint8_t)~SAY_HELLO;
        link->hello_us = now_us;
    }
    return length;
}

size_t tocsin_next(tocsin_link *link, uint32_t now_us, uint8_t *out, size_t room)
{
    const tocsin_stream *stream = link->encoder.stream;
    const uint32_t silent_us = now_us - link->spoke_us;
    size_t length = 0;
    if (!flagged(link, TOCSIN_LISTENS) && now_us - link->hello_us >= HELLO_EVERY_US) {
        link->pending |= SAY_HELLO;
    }
    if ((link->pending & SAY_HELLO) != 0u) {
        length = next_hello(link, now_us, out, room);
    } else if ((link->pending & SAY_TIME) != 0u) {
        length = tocsin_encode_time(&link->encoder, link->token, link->asked_us, now_us, out, room);
        link->pending &= (uint8_t)~SAY_TIME;
    } else if (link->again > 0u) {
        length = next_again(link, out, room);
    } else if (link->waiting > 0u) {
        length = next_waiting(link, out, room);
    } else if (stream->alive_ms > 0u && silent_us >= (uint32_t)stream->alive_ms * 1000u) {
        length = tocsin_encode_alive(&link->encoder, oldest_sequence(link), link->lost, now_us, out,
                                     room);
    } else {
        /* nothing is due */
    }
    if (length > 0u) {
        link->spoke_us = now_us;
    }
    return length;
}

static bool is_before(uint16_t one, uint16_t other)
{
    return (uint16_t)(one - other) >= 0x8000u;
}

static void acknowledged(tocsin_link *link, uint16_t next, uint16_t highest, uint32_t window)
{
    uint32_t at;
    uint16_t left;
    if (is_before(link->encoder.sequence, next) || is_before(link->encoder.sequence, highest)) {
        return; /* acknowledges packets that were never sent */
    }
    while (link->kept > link->waiting && is_before(sequence_at(link, link->oldest), next)) {
        drop_oldest(link);
    }
    at = link->oldest;
    for (left = (uint16_t)(link->kept - link->waiting); left > 0u; left--) {
        const uint16_t ahead = (uint16_t)(sequence_at(link, at) - next);
        const uint8_t state = link->outbox[at + 4u];
        if (ahead > 32u || ahead >= (uint16_t)(highest - next)) {
            break;
        }
        if (state == 0u && (ahead == 0u || ((window >> (ahead - 1u)) & 1u) == 0u)) {
            link->outbox[at + 4u] = AGAIN;
            link->again++;
        }
        at = after(link, at);
    }
}

static void handle(tocsin_link *link, const uint8_t *body, size_t length, uint32_t now_us)
{
    if (body[0] == (uint8_t)TOCSIN_ASK_HELLO) {
        link->pending |= SAY_HELLO;
    } else if (body[0] == (uint8_t)TOCSIN_ASK_TIME && length >= 5u) {
        link->token = tocsin_get(&body[1], 4);
        link->asked_us = now_us;
        link->pending |= SAY_TIME;
    } else if (body[0] == (uint8_t)TOCSIN_ACK && length >= 11u &&
               tocsin_get(&body[1], 2) == (link->encoder.session & 0xFFFFu)) {
        acknowledged(link, (uint16_t)tocsin_get(&body[3], 2), (uint16_t)tocsin_get(&body[5], 2),
                     tocsin_get(&body[7], 4));
    } else {
        /* a packet of a later version, or of another session */
    }
}

void tocsin_receive(tocsin_link *link, const uint8_t *bytes, size_t length, uint32_t now_us)
{
    size_t i;
    for (i = 0; i < length; i++) {
        if (bytes[i] != 0u) {
            if (link->inbox_length < TOCSIN_INBOX) {
                link->inbox[link->inbox_length] = bytes[i];
                link->inbox_length++;
            } else {
                link->inbox_length = INBOX_OVERFLOW;
            }
        } else {
            if (link->inbox_length <= TOCSIN_INBOX) {
                const size_t body = tocsin_unframe(link->inbox, link->inbox_length);
                if (body > 0u) {
                    handle(link, link->inbox, body, now_us);
                }
            }
            link->inbox_length = 0;
        }
    }
}
