/* The data frame of a TI ADS1292R: two 24-bit channels behind a status word (data sheet SBAS502,
 * "Data Retrieval"). The board's own code reads it over SPI when DRDY falls. */
#ifndef ADS1292R_H
#define ADS1292R_H

#include <stdbool.h>
#include <stdint.h>

#define ADS1292R_FRAME 9u

/* Read one frame. False if it does not begin with the marker 1100: the bus lost alignment. `off`
 * has one bit for each channel with an electrode off. */
bool ads1292r_read(const uint8_t frame[ADS1292R_FRAME], int32_t values[2], uint16_t *off);

/* Write the frame that the chip would send, for simulations. */
void ads1292r_write(uint8_t frame[ADS1292R_FRAME], const int32_t values[2], uint16_t off);

#endif
