// An Arduino-style sketch: two leads of an ADS1292R at 250 Hz over USB-CDC. `make examples` compiles
// it against stubs of a board's functions (examples/stubs/Arduino.h).
#include <Arduino.h>
#include <SPI.h>

extern "C" {
#include "ads1292r.h"
#include "tocsin_link.h"
}

static const int PIN_DRDY = 2, PIN_CS = 10, PIN_BUTTON = 3;
static const int PIN_OPEN = A0; // connected to nothing
static const uint16_t SLOTS = 32;         // the main loop may be 128 ms late
static const uint8_t BLOCK = 25;          // 100 ms a packet
static const size_t RETENTION = 8 * 1024; // about ten seconds while the cable is unplugged

// gain 6, reference 2.42 V: 2.42 V / 6 / 2^23 is 48,081 pV a count
static const tocsin_lead leads[] = {{"I", 48081, 0}, {"II", 48081, 0}};
static const tocsin_stream stream = {
    "acme-holter-0017", "1.4.2", "",   leads, 250000, -8388608, 8388607,
    TOCSIN_LISTENS | TOCSIN_RESENDS, 1000, 2, 24, BLOCK};

static tocsin_ring ring;
static tocsin_link tocsin;
static uint32_t words[TOCSIN_RING_WORDS(SLOTS, 2)];
static int32_t rows[BLOCK * 2];
static uint8_t outbox[RETENTION];
static uint8_t frame[TOCSIN_MAX_FRAME + 1];

static void on_data_ready() // interrupt
{
    uint8_t raw[ADS1292R_FRAME];
    int32_t values[2];
    uint16_t off;
    digitalWrite(PIN_CS, LOW);
    for (uint8_t &byte : raw) {
        byte = SPI.transfer(0);
    }
    digitalWrite(PIN_CS, HIGH);
    if (ads1292r_read(raw, values, &off)) {
        tocsin_ring_put(&ring, micros(), values, off, 0, false);
    }
}

void setup()
{
    Serial.begin(921600);
    SPI.begin();
    pinMode(PIN_BUTTON, INPUT_PULLUP);
    tocsin_ring_init(&ring, words, SLOTS, 2);
    // A number not used before: a counter in flash is best, a random number is sufficient, if it
    // is not the same after every start: the noise of an open analogue input seeds it.
    uint32_t seed = micros();
    for (uint8_t k = 0; k < 32; ++k) {
        seed = seed * 31u + (uint32_t)analogRead(PIN_OPEN);
    }
    randomSeed(seed);
    tocsin_link_init(&tocsin, &stream, random(0x7FFFFFFF), &ring, rows, outbox, sizeof outbox);
    attachInterrupt(digitalPinToInterrupt(PIN_DRDY), on_data_ready, FALLING);
}

void loop()
{
    static bool was_pressed = false;
    const bool pressed = digitalRead(PIN_BUTTON) == LOW;
    if (pressed && !was_pressed) {
        tocsin_event(&tocsin, TOCSIN_BUTTON, micros(), nullptr, 0);
    }
    was_pressed = pressed;

    while (Serial.available() > 0) {
        const uint8_t byte = (uint8_t)Serial.read();
        tocsin_receive(&tocsin, &byte, 1, micros());
    }
    tocsin_poll(&tocsin, false);
    // Fetch a frame only when it can be sent; until then it stays in the outbox.
    while (Serial.availableForWrite() >= (int)sizeof frame) {
        const size_t length = tocsin_next(&tocsin, micros(), frame, sizeof frame);
        if (length == 0) {
            break;
        }
        Serial.write(frame, length);
    }
}
