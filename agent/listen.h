/* listen.h - the address of the status server: "ADDRESS:PORT", IPv6 in brackets, "" for none. */
#ifndef RS_AGENT_LISTEN_H
#define RS_AGENT_LISTEN_H

#include <sys/socket.h>

#include "base/error.h"

/* Numeric addresses only: a name could resolve to something that is open to the world. E_CONFIG. */
int listen_parse(const char *text, struct sockaddr_storage *ret, struct error *err);
/* A listening socket, and its family. E_CONFIG; E_IO, E_PERMISSION with the reason: an address that
 * somebody else listens on is refused, also another agent of the same user. */
int listen_open(const char *text, int *ret_fd, int *ret_family, struct error *err);
/* listen_parse() for those who want the verdict alone; "" is fine. */
int listen_check(const char *text, struct error *err);

#endif
