/* visitors.c - see visitors.h. */
#include "agent/visitors.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"

void visitors_init(struct visitors *visitors, unsigned max, unsigned per_key)
{
    const struct guest_limits limits = {.classes = 1, .max = {max}, .per_key = per_key};

    guests_init(&visitors->guests, &limits, clock_boot_ms());
}

void visitors_finish(struct visitors *visitors)
{
    guests_finish(&visitors->guests);
}

/* Of a unix socket's other end the user, else the address. */
static bool key_of(struct MHD_Connection *connection, int fd, struct guest_key *ret)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (info != NULL && info->client_addr != NULL && info->client_addr->sa_family != AF_UNIX)
        return guest_key_of(info->client_addr, ret);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    *ret = (struct guest_key){1, peer.uid};
    return true;
}

static struct guest *visitors_enter(struct visitors *visitors, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct guest *guest = calloc(1, sizeof(*guest));
    struct guest_key key;
    bool keyed;

    if (guest == NULL || info == NULL) {
        free(guest);
        return NULL; /* the library's own timeout and limit are left */
    }
    keyed = key_of(connection, info->connect_fd, &key);
    if (!guests_enter(&visitors->guests, guest, info->connect_fd, keyed ? &key : NULL,
                      clock_boot_ms() + VISITORS_REQUEST_MS))
        (void)shutdown(info->connect_fd, SHUT_RDWR); /* fails when the peer was faster */
    return guest;
}

void visitors_on_connection(void *context, struct MHD_Connection *connection, void **state,
                            enum MHD_ConnectionNotificationCode code)
{
    struct visitors *visitors = context;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *state = visitors_enter(visitors, connection);
    } else if (*state != NULL) {
        (void)guests_leave(&visitors->guests, *state);
        free(*state);
        *state = NULL;
    }
}

static struct guest *guest_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info != NULL ? info->socket_context : NULL;
}

static void await(struct visitors *visitors, struct MHD_Connection *connection, int64_t time_ms)
{
    struct guest *guest = guest_of(connection);

    if (guest != NULL)
        guests_await(&visitors->guests, guest, clock_boot_ms() + time_ms);
}

void visitors_hurry(struct visitors *visitors, struct MHD_Connection *connection)
{
    await(visitors, connection, VISITORS_REQUEST_MS);
}

void visitors_idle(struct visitors *visitors, struct MHD_Connection *connection)
{
    await(visitors, connection, VISITORS_IDLE_MS);
}

void visitors_busy(struct visitors *visitors, struct MHD_Connection *connection)
{
    struct guest *guest = guest_of(connection);

    if (guest != NULL)
        guests_busy(&visitors->guests, guest, GUEST_NO_DEADLINE);
}

void visitors_tick(struct visitors *visitors)
{
    guests_expire(&visitors->guests, clock_boot_ms());
}
