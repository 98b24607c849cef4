/* Encodes samples into frames. */
#include "tocsin_frame.h"

#define SECTIONS 20u /* bytes of a packet reserved for off, saturated and paced */

/* The length of a text, at most one more than allowed. */
static uint8_t text_length(const char *text, uint8_t most)
{
    uint8_t length = 0;
    while (text[length] != '\0' && length <= most) {
        length++;
    }
    return length;
}

static bool stream_is_valid(const tocsin_stream *s)
{
    const size_t width = (s->bits == 24u) ? 3u : 2u;
    const size_t leads = s->lead_count;
    const size_t data = 20u + ((leads + 3u) / 4u) + (leads * s->block * width) + SECTIONS;
    size_t k;
    if ((s->bits != 16u && s->bits != 24u) || leads < 1u || leads > TOCSIN_MAX_LEADS ||
        s->block < 1u || data > TOCSIN_MAX_PACKET || s->rate_mhz < 100000u ||
        s->rate_mhz > 2000000u || s->device[0] == '\0' || text_length(s->device, 32) > 32u ||
        text_length(s->firmware, 32) > 32u || text_length(s->stream, 64) > 64u) {
        return false;
    }
    for (k = 0; k < leads; k++) {
        if (s->leads[k].step_pv == 0u || s->leads[k].name[0] == '\0' ||
            text_length(s->leads[k].name, 12) > 12u) {
            return false;
        }
    }
    return true;
}

static void clear_rows(tocsin_encoder *e)
{
    e->off = 0;
    e->saturated = 0;
    e->count = 0;
    e->paces = 0;
}

bool tocsin_encoder_init(tocsin_encoder *e, const tocsin_stream *stream, int32_t *rows,
                         uint32_t session, uint16_t sequence)
{
    e->stream = stream;
    e->rows = rows;
    e->session = session;
    e->wraps = 0;
    e->counter = 0;
    e->first = 0;
    e->time_us = 0;
    e->sequence = sequence;
    clear_rows(e);
    return stream_is_valid(stream);
}

bool tocsin_encoder_add(tocsin_encoder *e, const tocsin_instant *instant, const int32_t *values)
{
    const uint8_t leads = e->stream->lead_count;
    const int32_t limit = (e->stream->bits == 24u) ? 8388607 : 32767;
    int32_t *row = &e->rows[(size_t)e->count * leads];
    uint8_t k;
    if (e->count > 0u &&
        (e->count == e->stream->block || instant->counter != e->counter ||
         (instant->off != e->off && e->count >= 8u) ||
         (instant->paced && e->paces == TOCSIN_MAX_PACES))) {
        return false;
    }
    if (e->count == 0u) {
        e->first = instant->counter;
        e->time_us = instant->time_us;
    }
    if (instant->counter < e->counter) {
        e->wraps++;
    }
    e->counter = instant->counter + 1u;
    if (e->counter == 0u) {
        e->wraps++;
    }
    e->off |= instant->off;
    e->saturated |= instant->saturated;
    if (instant->paced) {
        e->pace[e->paces] = e->count;
        e->paces++;
    }
    for (k = 0; k < leads; k++) {
        /* A count that does not fit would be read as another count: send it as missing. */
        row[k] = (values[k] >= -limit && values[k] <= limit) ? values[k] : TOCSIN_MISSING;
    }
    e->count++;
    return true;
}

/* The shortest code for a lead: 0 raw, 1 and 2 differences of that many bytes, 3 all missing. */
static uint8_t code_of(const tocsin_encoder *e, uint8_t lead, uint8_t width)
{
    const uint8_t leads = e->stream->lead_count;
    const int32_t *at = &e->rows[lead];
    int32_t before = *at;
    int32_t low = 0;
    int32_t high = 0;
    uint8_t missing = (before == TOCSIN_MISSING) ? 1u : 0u;
    uint8_t i;
    uint8_t code = 0;
    for (i = 1; i < e->count; i++) {
        at += leads;
        if (*at == TOCSIN_MISSING) {
            missing++;
        } else if (missing == 0u) {
            const int32_t step = *at - before;
            low = (step < low) ? step : low;
            high = (step > high) ? step : high;
            before = *at;
        } else {
            /* send raw: there is no difference between a missing sample and the next */
        }
    }
    if (missing == e->count) {
        code = 3;
    } else if (missing > 0u || e->count < 2u) {
        code = 0;
    } else if (low >= -128 && high <= 127) {
        code = 1;
    } else if (width == 3u && low >= -32768 && high <= 32767) {
        code = 2;
    } else {
        code = 0;
    }
    return code;
}

static void write_lead(tocsin_writer *w, const tocsin_encoder *e, uint8_t lead, uint8_t width,
                       uint8_t code)
{
    const uint8_t leads = e->stream->lead_count;
    const int32_t *at = &e->rows[lead];
    const uint32_t lowest = (width == 3u) ? 0x800000u : 0x8000u;
    int32_t before = 0;
    uint8_t i;
    if (code == 3u) {
        return;
    }
    for (i = 0; i < e->count; i++) {
        const bool whole = code == 0u || i == 0u;
        if (whole) {
            tocsin_write(w, (*at == TOCSIN_MISSING) ? lowest : (uint32_t)*at, width);
        } else {
            tocsin_write(w, (uint32_t)(*at - before), code);
        }
        before = *at;
        at += leads;
    }
}

static void begin(tocsin_writer *w, const tocsin_encoder *e, uint8_t type, uint8_t *out,
                  size_t room)
{
    tocsin_write_begin(w, out, room);
    tocsin_write(w, type, 1);
    tocsin_write(w, e->session, 2);
}

static void write_place(tocsin_writer *w, const tocsin_encoder *e, uint32_t counter,
                        uint32_t time_us)
{
    tocsin_write(w, e->sequence, 2);
    tocsin_write(w, counter, 4);
    tocsin_write(w, time_us, 4);
}

size_t tocsin_encode_samples(tocsin_encoder *e, uint8_t *out, size_t room)
{
    const uint8_t leads = e->stream->lead_count;
    const uint8_t width = (e->stream->bits == 24u) ? 3u : 2u;
    const uint32_t marks = ((e->off != 0u) ? 1u : 0u) | ((e->saturated != 0u) ? 2u : 0u) |
                           ((e->paces != 0u) ? 4u : 0u);
    uint32_t codes = 0;
    uint8_t k;
    size_t length;
    tocsin_writer w;
    if (e->count == 0u) {
        return 0;
    }
    for (k = 0; k < leads; k++) {
        codes |= (uint32_t)code_of(e, k, width) << (2u * k);
    }
    begin(&w, e, (uint8_t)TOCSIN_SAMPLES, out, room);
    write_place(&w, e, e->first, e->time_us);
    tocsin_write(&w, e->count, 1);
    tocsin_write(&w, (leads - 1u) | ((width == 3u) ? 0x10u : 0u), 1);
    tocsin_write(&w, marks, 1);
    tocsin_write(&w, codes, (uint8_t)((leads + 3u) / 4u));
    for (k = 0; k < leads; k++) {
        write_lead(&w, e, k, width, (uint8_t)((codes >> (2u * k)) & 3u));
    }
    if (e->off != 0u) {
        tocsin_write(&w, e->off, 2);
    }
    if (e->saturated != 0u) {
        tocsin_write(&w, e->saturated, 2);
    }
    if (e->paces != 0u) {
        tocsin_write(&w, e->paces, 1);
        for (k = 0; k < e->paces; k++) {
            tocsin_write(&w, e->pace[k], 1);
        }
    }
    length = tocsin_write_end(&w);
    if (length > 0u) {
        e->sequence++;
        clear_rows(e);
    }
    return length;
}

size_t tocsin_encode_event(tocsin_encoder *e, uint8_t kind, uint32_t now_us, const uint8_t *value,
                           size_t length, uint8_t *out, size_t room)
{
    tocsin_writer w;
    size_t i;
    size_t written;
    begin(&w, e, (uint8_t)TOCSIN_EVENT, out, room);
    write_place(&w, e, e->counter, now_us);
    tocsin_write(&w, kind, 1);
    for (i = 0; i < length; i++) {
        tocsin_write(&w, value[i], 1);
    }
    written = tocsin_write_end(&w);
    if (written > 0u) {
        e->sequence++;
    }
    return written;
}

static void write_text(tocsin_writer *w, const char *text)
{
    tocsin_write(w, text_length(text, 64), 1);
    for (; *text != '\0'; text++) {
        tocsin_write(w, (uint8_t)*text, 1);
    }
}

size_t tocsin_encode_hello(const tocsin_encoder *e, uint16_t oldest, uint32_t now_us, uint8_t *out,
                           size_t room)
{
    const tocsin_stream *s = e->stream;
    tocsin_writer w;
    uint8_t k;
    begin(&w, e, (uint8_t)TOCSIN_HELLO, out, room);
    tocsin_write(&w, TOCSIN_VERSION, 2); /* and minor 0 */
    tocsin_write(&w, s->flags, 2);
    tocsin_write(&w, e->session, 4);
    tocsin_write(&w, e->sequence, 2);
    tocsin_write(&w, oldest, 2);
    tocsin_write(&w, e->counter, 4);
    tocsin_write(&w, e->wraps, 4);
    tocsin_write(&w, now_us, 4);
    tocsin_write(&w, s->rate_mhz, 4);
    tocsin_write(&w, s->alive_ms, 2);
    tocsin_write(&w, s->bits, 1);
    tocsin_write(&w, s->block, 1);
    tocsin_write(&w, (uint32_t)s->lowest, 4);
    tocsin_write(&w, (uint32_t)s->highest, 4);
    write_text(&w, s->device);
    write_text(&w, s->firmware);
    write_text(&w, s->stream);
    tocsin_write(&w, s->lead_count, 1);
    for (k = 0; k < s->lead_count; k++) {
        tocsin_write(&w, s->leads[k].step_pv, 4);
        tocsin_write(&w, (uint32_t)s->leads[k].zero, 4);
        write_text(&w, s->leads[k].name);
    }
    return tocsin_write_end(&w);
}

size_t tocsin_encode_alive(const tocsin_encoder *e, uint16_t oldest, uint32_t lost,
                           uint32_t now_us, uint8_t *out, size_t room)
{
    tocsin_writer w;
    begin(&w, e, (uint8_t)TOCSIN_ALIVE, out, room);
    tocsin_write(&w, e->sequence, 2);
    tocsin_write(&w, oldest, 2);
    tocsin_write(&w, e->counter, 4);
    tocsin_write(&w, now_us, 4);
    tocsin_write(&w, lost, 4);
    return tocsin_write_end(&w);
}

size_t tocsin_encode_time(const tocsin_encoder *e, uint32_t token, uint32_t received_us,
                          uint32_t now_us, uint8_t *out, size_t room)
{
    tocsin_writer w;
    begin(&w, e, (uint8_t)TOCSIN_TIME, out, room);
    tocsin_write(&w, token, 4);
    tocsin_write(&w, received_us, 4);
    tocsin_write(&w, now_us, 4);
    return tocsin_write_end(&w);
}
