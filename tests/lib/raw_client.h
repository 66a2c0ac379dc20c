/* raw_client.h - a client on a bare socket, which says what no HTTP library would. Any failure that
 * a server has no part in ends the program.
 */
#ifndef RS_TESTS_RAW_CLIENT_H
#define RS_TESTS_RAW_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RAW_PATIENCE_MS = 120000, RAW_ANSWER_MAX = 1 << 20 };

int raw_dial(uint16_t port); /* on 127.0.0.1 */
int raw_dial_unix(const char *path);
/* The port of "http://127.0.0.1:PORT". */
uint16_t raw_port_of(const char *url);
/* False when the peer has closed. */
bool raw_send(int fd, const char *bytes, size_t size);
/* The same for a text; ends the program when the peer has closed. */
void raw_say(int fd, const char *text);
/* All that comes until `until` was seen or the peer closes, to be freed. *ret_reset (may be NULL):
 * it closed with a reset. */
char *raw_hear(int fd, const char *until, bool *ret_reset);
/* Sends each request of malformed.h over a connection of its own, with another one behind it. NULL
 * when all were answered 400 and nothing else; else the first that was not, for a message; to be
 * freed. */
char *raw_find_taken(int (*dial)(const void *context), const void *context);

#endif
