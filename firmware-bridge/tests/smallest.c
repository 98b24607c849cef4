/* The smallest program with an encoder. `make sizes` measures it after the linker has removed
 * functions that are not called. */
#include "tocsin_link.h"

static const tocsin_lead leads[] = {{"II", 48080, 0}, {"V1", 48080, 0}};
static const tocsin_stream stream = {"d", "1", "", leads, 250000, -8388608, 8388607,
                                     0,   0,   2,  24,    25};
static struct {
    tocsin_encoder encoder;
    int32_t rows[25 * 2];
    uint8_t frame[208]; /* 20 + 1 + 2 * 25 * 3 + 20 of sections, and 3 of COBS, is 194 */
} state;
typedef char state_is_at_most_512_bytes[(sizeof state <= 512) ? 1 : -1];

volatile size_t sent;

int main(void)
{
    static tocsin_instant now;
    static int32_t values[2];
    (void)tocsin_encoder_init(&state.encoder, &stream, state.rows, 1, 0);
    sent = tocsin_encode_hello(&state.encoder, 0, 0, state.frame, sizeof state.frame);
    for (;;) {
        if (!tocsin_encoder_add(&state.encoder, &now, values)) {
            sent = tocsin_encode_samples(&state.encoder, state.frame, sizeof state.frame);
        }
        sent = tocsin_encode_event(&state.encoder, TOCSIN_BUTTON, 0, NULL, 0, state.frame,
                                   sizeof state.frame);
    }
}
