/* feed_client.h - a follower as a transport would drive it, line by line.
 *
 * Reads when it is asked to and sleeps until it is woken; a line that does not come within ten
 * seconds fails the test.
 */
#ifndef RS_TESTS_FEED_CLIENT_H
#define RS_TESTS_FEED_CLIENT_H

#include <pthread.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "control/feed/feed.h"
#include "sync/change.h"

struct feed_client {
    struct follower *follower; /* NULL: not connected */
    pthread_mutex_t lock;
    pthread_cond_t wakeup;
    bool woken;
    size_t wakes;
    size_t cuts;     /* the feed wants the connection to end */
    size_t read_max; /* bytes per read; 0: 4096 */
    struct feed_wish wish;
    /* How it connects: nil is an agent of before, nobody's credential, no former feed. */
    struct uuid instance;
    struct uuid credential;
    struct uuid former;
    struct uuid feed; /* as its hello said */
    struct buffer input;
    struct arena arena; /* of the last line */
};

/* `version` is the cursor in the epoch; a NULL epoch is no cursor. */
void feed_client_connect(struct feed_client *client, struct feed *feed, const struct uuid *cp,
                         const char *host, const struct uuid *epoch, uint64_t version);
void feed_client_disconnect(struct feed_client *client);

/* A read that must give nothing now. */
void feed_client_expect_nothing(struct feed_client *client);

/* The next line; false: the stream ended. */
bool feed_client_line(struct feed_client *client, struct feed_line *ret);
/* The next line, which must be of this kind. */
struct feed_line feed_client_expect(struct feed_client *client, enum feed_line_kind kind);
/* The next one of this kind; those before it are passed over. */
struct feed_line feed_client_skip_to(struct feed_client *client, enum feed_line_kind kind);
void feed_client_expect_end(struct feed_client *client);

#endif
