/* http_connection.c - connections as guests: how long each may take for what, and its end.
 *
 * MHD closes a connection on which nothing happens, but one byte now and then keeps it open for
 * ever (slowloris). So each wait for a client has a deadline that bytes do not move:
 *
 *   from connecting (TLS included) to the end of the first headers  header_timeout_s
 *   from a later request's first line to the end of its headers     header_timeout_s
 *   from one answer to the next request's first line                idle_timeout_s
 *   a body                                                          header_timeout_s and its size
 * at BODY_RATE a stranger's answer                                             ANSWER_TIMEOUT
 *
 * Followers, which stay for months, have none.
 */
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/http/http_internal.h"

enum {
    BODY_RATE_BYTES_PER_MS = 32, /* a megabyte in half a minute: slower than any link in use */
    ANSWER_TIMEOUT_MS = 30000,
    MS_PER_S = 1000
};

struct http_connection *http_connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info != NULL ? info->socket_context : NULL;
}

static int64_t header_deadline(const struct http_server *server)
{
    return clock_boot_ms() + (int64_t)server->options.header_timeout_s * MS_PER_S;
}

/* NULL (out of memory) leaves MHD's timeout alone for this connection, and the limit of MHD's. */
static struct http_connection *http_connection_enter(struct http_server *server,
                                                     struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *address =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct http_connection *entered = calloc(1, sizeof(*entered));
    bool keyed;

    if (entered == NULL || fd == NULL) {
        free(entered);
        return NULL;
    }
    keyed = guest_key_of(address != NULL ? address->client_addr : NULL, &entered->address);
    if (!guests_enter(&server->guests, &entered->guest, fd->connect_fd,
                      keyed ? &entered->address : NULL, header_deadline(server)))
        (void)shutdown(fd->connect_fd, SHUT_RDWR); /* fails when the peer was faster */
    return entered;
}

/* A close with bytes unread would make the kernel send a reset, which takes the answer with it. */
static bool has_unread(int fd)
{
    int unread = 0;

    return ioctl(fd, FIONREAD, &unread) == 0 && unread > 0;
}

static void leave(struct http_server *server, struct http_connection *connection)
{
    const int fd = connection->guest.fd;

    if (guests_leave(&server->guests, &connection->guest) && (connection->linger || has_unread(fd)))
        http_linger_add(&server->linger, fd);
    free(connection);
}

void http_on_connection(void *context, struct MHD_Connection *connection, void **state,
                        enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *state = http_connection_enter(context, connection);
    } else if (*state != NULL) {
        leave(context, *state);
        *state = NULL;
    }
}

/* Workers change the class, but only of a connection that is suspended. */
bool http_connection_is_known(const struct http_connection *connection)
{
    return connection != NULL && connection->guest.class != HTTP_STRANGER;
}

void http_connection_begin(struct http_server *server, struct http_connection *connection)
{
    if (connection != NULL)
        guests_await(&server->guests, &connection->guest, header_deadline(server));
}

void http_connection_busy(struct http_server *server, struct http_connection *connection)
{
    if (connection != NULL)
        guests_busy(&server->guests, &connection->guest, GUEST_NO_DEADLINE);
}

void http_connection_body(struct http_server *server, struct http_connection *connection,
                          uint64_t size)
{
    if (connection != NULL)
        guests_busy(&server->guests, &connection->guest,
                    header_deadline(server) + (int64_t)(size / BODY_RATE_BYTES_PER_MS));
}

void http_connection_sending(struct http_server *server, struct http_connection *connection)
{
    if (connection == NULL)
        return;
    if (!http_connection_is_known(connection))
        guests_await(&server->guests, &connection->guest, clock_boot_ms() + ANSWER_TIMEOUT_MS);
    else
        guests_busy(&server->guests, &connection->guest, GUEST_NO_DEADLINE);
}

void http_connection_idle(struct http_server *server, struct http_connection *connection)
{
    if (connection != NULL)
        guests_await(&server->guests, &connection->guest,
                     clock_boot_ms() + (int64_t)server->options.idle_timeout_s * MS_PER_S);
}
