/* loopback.h - a listening socket on a random port of 127.0.0.1, for the tests' own servers. */
#ifndef RS_TESTS_LOOPBACK_H
#define RS_TESTS_LOOPBACK_H

#include <stdint.h>

/* Ends the program when there is none to be had. */
int loopback_listen(uint16_t *ret_port);

#endif
