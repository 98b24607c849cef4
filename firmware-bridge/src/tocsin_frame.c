/* Writes frames byte by byte: COBS and CRC-32C. */
#include "tocsin_frame.h"

/* Four bits at a time: a table of 64 bytes of flash instead of 1024. */
uint32_t tocsin_crc(uint32_t crc, uint8_t byte)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x105EC76Fu, 0x20BD8EDEu, 0x30E349B1u, 0x417B1DBCu, 0x5125DAD3u,
        0x61C69362u, 0x7198540Du, 0x82F63B78u, 0x92A8FC17u, 0xA24BB5A6u, 0xB21572C9u,
        0xC38D26C4u, 0xD3D3E1ABu, 0xE330A81Au, 0xF36E6F75u};
    crc ^= byte;
    crc = (crc >> 4) ^ table[crc & 15u];
    return (crc >> 4) ^ table[crc & 15u];
}

static void put_at(const tocsin_writer *writer, size_t at, uint8_t byte)
{
    if (at < writer->room) {
        writer->out[at] = byte;
    }
}

static void close_group(tocsin_writer *writer)
{
    put_at(writer, writer->code_at, writer->code);
    writer->code_at = writer->at;
    writer->at++;
    writer->code = 1;
}

static void stuff(tocsin_writer *writer, uint8_t byte)
{
    if (writer->code == 0xFFu) {
        close_group(writer);
    }
    if (byte == 0u) {
        close_group(writer);
    } else {
        put_at(writer, writer->at, byte);
        writer->at++;
        writer->code++;
    }
}

void tocsin_write_begin(tocsin_writer *writer, uint8_t *out, size_t room)
{
    writer->out = out;
    writer->room = room;
    writer->at = 1;
    writer->code_at = 0;
    writer->body = 0;
    writer->crc = 0xFFFFFFFFu;
    writer->code = 1;
}

void tocsin_write(tocsin_writer *writer, uint32_t value, uint8_t bytes)
{
    writer->body += bytes;
    for (; bytes > 0u; bytes--) {
        const uint8_t byte = (uint8_t)(value & 0xFFu);
        writer->crc = tocsin_crc(writer->crc, byte);
        stuff(writer, byte);
        value >>= 8;
    }
}

size_t tocsin_write_end(tocsin_writer *writer)
{
    uint32_t crc = ~writer->crc;
    uint8_t left;
    for (left = 4; left > 0u; left--) {
        stuff(writer, (uint8_t)(crc & 0xFFu));
        crc >>= 8;
    }
    put_at(writer, writer->code_at, writer->code);
    put_at(writer, writer->at, 0);
    writer->at++;
    return (writer->at <= writer->room && writer->body <= TOCSIN_MAX_BODY) ? writer->at : 0u;
}

size_t tocsin_frame(const uint8_t *body, size_t length, uint8_t *out, size_t room)
{
    tocsin_writer writer;
    size_t i;
    if (length == 0u || length > TOCSIN_MAX_BODY) {
        return 0;
    }
    tocsin_write_begin(&writer, out, room);
    for (i = 0; i < length; i++) {
        tocsin_write(&writer, body[i], 1);
    }
    return tocsin_write_end(&writer);
}
