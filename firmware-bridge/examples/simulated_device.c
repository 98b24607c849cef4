/* A simulated device: an ADS1292R in software plays a record into a pseudo-terminal.
 *
 *   simulated_device --csv 208.csv --rate 360 --gain 200 --zero 1024 --link /tmp/ttyECG
 *   tocsin link check --port serial:/tmp/ttyECG
 *
 * The file has two counts per line, one line per sample; an optional first line names the leads.
 * tools/record_to_csv.py makes such a file from a WFDB record. The section "firmware" is what a real
 * firmware does; the rest simulates hardware. */
#define _XOPEN_SOURCE 700
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "ads1292r.h"
#include "tocsin_link.h"

#define SLOTS 1024
#define BLOCK 25

static struct {
    const char *csv, *link, *stream, *device;
    double rate_hz, speed, corrupt, drift_ppm, pull_at_s, pull_for_s, stay_s;
    double gain;
    long zero, lowest, highest, session, memory;
    int resend, wait, mute;
    unsigned seed;
} option = {NULL, "/tmp/ttyECG", "", "simulated", 360, 1, 0, 0, -1, 10, 3, 200,
            0,    0,             0,  1,           65536, 0, 0, 0, 1};

static tocsin_lead leads[2] = {{"II", 0, 0}, {"V1", 0, 0}};
static tocsin_stream stream;
static tocsin_ring ring;
static tocsin_link link_;
static uint32_t words[TOCSIN_RING_WORDS(SLOTS, 2)];
static int32_t rows[BLOCK * 2];
static uint8_t *outbox;
static int wire = -1;
static int slave = -1;

/* ---- simulated hardware -------------------------------------------------------------------- */

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void plug_in(void)
{
    struct termios raw;
    wire = posix_openpt(O_RDWR | O_NOCTTY);
    if (wire < 0 || grantpt(wire) != 0 || unlockpt(wire) != 0) {
        die("pseudo-terminal");
    }
    slave = open(ptsname(wire), O_RDWR | O_NOCTTY); /* kept open, so that a reader may come and go */
    if (slave < 0 || tcgetattr(slave, &raw) != 0) {
        die("pseudo-terminal");
    }
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag &= ~(tcflag_t)OPOST;
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    (void)tcsetattr(slave, TCSANOW, &raw);
    (void)fcntl(wire, F_SETFL, O_NONBLOCK);
    (void)unlink(option.link);
    if (symlink(ptsname(wire), option.link) != 0) {
        die(option.link);
    }
}

static void pull_out(void)
{
    (void)unlink(option.link);
    (void)close(slave);
    (void)close(wire);
    wire = -1;
}

static double clock_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double chance(void)
{
    option.seed = option.seed * 1664525u + 1013904223u;
    return (option.seed >> 8) / 16777216.0;
}

/* A bad cable: some frames arrive with a flipped bit. */
static void corrupt(uint8_t *frame, size_t length)
{
    if (chance() < option.corrupt) {
        frame[(size_t)(chance() * (double)length)] ^= (uint8_t)(1u << (unsigned)(chance() * 8.0));
    }
}

/* ---- firmware ------------------------------------------------------------------------------ */

/* DRDY fell, and SPI has read a frame. */
static void on_data_ready(const uint8_t *frame, uint32_t now_us)
{
    int32_t values[2];
    uint16_t off;
    if (ads1292r_read(frame, values, &off)) {
        (void)tocsin_ring_put(&ring, now_us, values, off, 0, false);
    }
}

static void talk(uint32_t now_us, bool flush)
{
    static uint8_t frame[TOCSIN_MAX_FRAME + 1];
    static size_t length, sent;
    uint8_t received[256];
    ssize_t got;
    tocsin_poll(&link_, flush);
    if (wire < 0) {
        length = sent = 0;
        return;
    }
    while ((got = read(wire, received, sizeof received)) > 0) {
        tocsin_receive(&link_, received, (size_t)got, now_us);
    }
    for (;;) {
        ssize_t took;
        if (sent == length) {
            sent = 0;
            length = tocsin_next(&link_, now_us, frame, sizeof frame);
            if (length == 0u) {
                return;
            }
            corrupt(frame, length);
        }
        took = write(wire, frame + sent, length - sent);
        if (took <= 0) {
            return; /* the wire is full: the rest is sent later, packets stay in the outbox */
        }
        sent += (size_t)took;
    }
}

/* ---- simulation ---------------------------------------------------------------------------- */

static void usage(void)
{
    fputs("simulated_device --csv FILE [--rate HZ] [--gain COUNTS_PER_MV] [--zero COUNT]\n"
          "  [--lowest COUNT --highest COUNT] [--stream NAME] [--device NAME] [--session N]\n"
          "  [--link PATH] [--speed FACTOR] [--resend] [--memory BYTES] [--wait] [--mute]\n"
          "  [--corrupt SHARE] [--drift PPM] [--pull-at S --pull-for S] [--stay S] [--seed N]\n",
          stderr);
    exit(2);
}

static void read_options(int count, char **words_)
{
    int k;
    for (k = 1; k < count; k++) {
        const char *name = words_[k];
        const char *value;
        if (strcmp(name, "--resend") == 0) {
            option.resend = 1;
            continue;
        }
        if (strcmp(name, "--wait") == 0) {
            option.wait = 1; /* until a reader is there */
            continue;
        }
        if (strcmp(name, "--mute") == 0) {
            option.mute = 1; /* it receives nothing from the gateway */
            continue;
        }
        if (k + 1 == count) {
            usage();
        }
        value = words_[++k];
        if (strcmp(name, "--csv") == 0) option.csv = value;
        else if (strcmp(name, "--link") == 0) option.link = value;
        else if (strcmp(name, "--stream") == 0) option.stream = value;
        else if (strcmp(name, "--device") == 0) option.device = value;
        else if (strcmp(name, "--rate") == 0) option.rate_hz = atof(value);
        else if (strcmp(name, "--gain") == 0) option.gain = atof(value);
        else if (strcmp(name, "--zero") == 0) option.zero = atol(value);
        else if (strcmp(name, "--lowest") == 0) option.lowest = atol(value);
        else if (strcmp(name, "--highest") == 0) option.highest = atol(value);
        else if (strcmp(name, "--session") == 0) option.session = atol(value);
        else if (strcmp(name, "--memory") == 0) option.memory = atol(value);
        else if (strcmp(name, "--speed") == 0) option.speed = atof(value);
        else if (strcmp(name, "--corrupt") == 0) option.corrupt = atof(value);
        else if (strcmp(name, "--drift") == 0) option.drift_ppm = atof(value);
        else if (strcmp(name, "--pull-at") == 0) option.pull_at_s = atof(value);
        else if (strcmp(name, "--pull-for") == 0) option.pull_for_s = atof(value);
        else if (strcmp(name, "--stay") == 0) option.stay_s = atof(value);
        else if (strcmp(name, "--seed") == 0) option.seed = (unsigned)atol(value);
        else usage();
    }
    if (option.csv == NULL) {
        usage();
    }
}

static bool next_line(FILE *file, int32_t values[2])
{
    char line[128];
    while (fgets(line, sizeof line, file) != NULL) {
        long one;
        long two;
        static char names[2][16];
        if (sscanf(line, "%ld,%ld", &one, &two) == 2) {
            values[0] = (int32_t)one;
            values[1] = (int32_t)two;
            return true;
        }
        if (sscanf(line, "%12[^,],%12[^\r\n]", names[0], names[1]) == 2) {
            leads[0].name = names[0];
            leads[1].name = names[1];
        }
    }
    return false;
}

static void pause_until(double then_s)
{
    const double left_s = then_s - clock_s();
    if (left_s > 0 && wire >= 0) {
        struct pollfd ready = {0, POLLIN, 0};
        ready.fd = wire;
        (void)poll(&ready, 1, (int)(left_s * 1000.0) + 1);
    } else if (left_s > 0) {
        (void)usleep((useconds_t)(left_s * 1e6));
    }
}

int main(int count, char **words_)
{
    FILE *file;
    int32_t values[2];
    uint64_t taken = 0;
    double start_s;
    double pulled_s = -1;
    bool more;
    read_options(count, words_);
    file = fopen(option.csv, "r");
    if (file == NULL) {
        die(option.csv);
    }
    more = next_line(file, values); /* the names of the leads come first */
    leads[0].step_pv = leads[1].step_pv = (uint32_t)(1e9 / option.gain + 0.5);
    leads[0].zero = leads[1].zero = (int32_t)option.zero;
    stream.device = option.device;
    stream.firmware = "simulated 1.0";
    stream.stream = option.stream;
    stream.leads = leads;
    stream.rate_mhz = (uint32_t)(option.rate_hz * 1000.0 + 0.5);
    stream.lowest = (int32_t)option.lowest;
    stream.highest = (int32_t)option.highest;
    stream.flags = (uint16_t)((option.mute ? 0 : TOCSIN_LISTENS) |
                              (option.resend ? TOCSIN_LISTENS | TOCSIN_RESENDS : 0));
    stream.alive_ms = 500;
    stream.lead_count = 2;
    stream.bits = 16;
    stream.block = BLOCK;
    outbox = malloc((size_t)option.memory);
    if (outbox == NULL || !tocsin_ring_init(&ring, words, SLOTS, 2) ||
        !tocsin_link_init(&link_, &stream, (uint32_t)option.session, &ring, rows, outbox,
                          (size_t)option.memory)) {
        fputs("the stream is outside the limits of the protocol\n", stderr);
        return 1;
    }
    plug_in();
    while (option.wait) {
        struct pollfd ready = {0, POLLIN, 0};
        ready.fd = wire;
        if (poll(&ready, 1, 1000) == 1) {
            break;
        }
    }
    start_s = clock_s();
    while (more) {
        const double period_s = (1.0 + 1e-6 * option.drift_ppm) / (option.rate_hz * option.speed);
        const double at_s = (double)taken / option.rate_hz;
        const uint32_t now_us = (uint32_t)(uint64_t)(at_s * 1e6);
        uint8_t frame[ADS1292R_FRAME];
        if (start_s + (double)taken * period_s > clock_s()) {
            talk(now_us, false);
            pause_until(start_s + (double)taken * period_s);
            continue;
        }
        if (option.pull_at_s >= 0 && at_s >= option.pull_at_s && pulled_s < 0) {
            pull_out();
            pulled_s = clock_s();
        }
        if (wire < 0 && clock_s() - pulled_s >= option.pull_for_s) {
            plug_in();
            tocsin_link_opened(&link_);
        }
        ads1292r_write(frame, values, 0);
        on_data_ready(frame, now_us);
        taken++;
        more = next_line(file, values);
        if (taken % BLOCK == 0u) {
            talk(now_us, false);
        }
    }
    for (start_s = clock_s(); clock_s() - start_s < option.stay_s;) {
        const double at_s = (double)taken / option.rate_hz + (clock_s() - start_s);
        talk((uint32_t)(uint64_t)(at_s * 1e6), true);
        pause_until(clock_s() + 0.02);
    }
    (void)unlink(option.link);
    fclose(file);
    return 0;
}
