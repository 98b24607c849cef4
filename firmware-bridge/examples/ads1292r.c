#include "ads1292r.h"

/* Status: 1100, LOFF_STAT[4:0] (RLD, IN2N, IN2P, IN1N, IN1P), GPIO[1:0], thirteen zeros. */

static int32_t channel(const uint8_t *at)
{
    const uint32_t raw = ((uint32_t)at[0] << 16) | ((uint32_t)at[1] << 8) | at[2];
    return ((raw & 0x800000u) != 0u) ? (int32_t)raw - 0x1000000 : (int32_t)raw;
}

bool ads1292r_read(const uint8_t frame[ADS1292R_FRAME], int32_t values[2], uint16_t *off)
{
    const uint32_t status =
        ((uint32_t)frame[0] << 16) | ((uint32_t)frame[1] << 8) | (uint32_t)frame[2];
    const uint32_t electrodes = (status >> 15) & 0x1Fu;
    values[0] = channel(&frame[3]);
    values[1] = channel(&frame[6]);
    *off = (uint16_t)((((electrodes & 0x03u) != 0u) ? 1u : 0u) |
                      (((electrodes & 0x0Cu) != 0u) ? 2u : 0u));
    return (status >> 20) == 0xCu;
}

void ads1292r_write(uint8_t frame[ADS1292R_FRAME], const int32_t values[2], uint16_t off)
{
    const uint32_t electrodes = (((off & 1u) != 0u) ? 0x01u : 0u) | (((off & 2u) != 0u) ? 0x04u : 0u);
    const uint32_t status = 0xC00000u | (electrodes << 15);
    unsigned k;
    for (k = 0; k < 3u; k++) {
        frame[k] = (uint8_t)(status >> (16u - 8u * k));
        frame[3u + k] = (uint8_t)((uint32_t)values[0] >> (16u - 8u * k));
        frame[6u + k] = (uint8_t)((uint32_t)values[1] >> (16u - 8u * k));
    }
}
