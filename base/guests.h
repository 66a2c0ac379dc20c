/* guests.h - who is connected to a server, and who has to go when room is needed.
 *
 * A server tells of each connection when it comes (guests_enter), when it waits for bytes of the
 * client (guests_await: idle, half a request, an answer that is not read), when it has a request in
 * hand (guests_busy), who turned out to be at the other end (guests_classify), and when it is gone
 * (guests_leave). In return no class of guests ever holds more connections than it has room for: a
 * newcomer takes the place of the oldest that waits, first of its own address, then of its class.
 * So unfinished requests, however many, cost those who send them their connections and nobody else
 * anything. Only when all that a class has are busy, a newcomer is turned away.
 *
 * Every wait has a deadline, kept by guests_expire(), which the owner calls about once a second. A
 * guest is sent away by shutting its socket down; the server then sees the end and calls
 * guests_leave(). Nothing is allocated but one small entry for each key that is present.
 *
 * THREADS: any; all calls take the mutex.
 */
#ifndef RS_BASE_GUESTS_H
#define RS_BASE_GUESTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

enum { GUEST_CLASSES_MAX = 4, GUEST_WHEEL = 128, GUEST_KEYS = 1024, GUEST_NO_DEADLINE = 0 };

/* Who stands behind connections: an IPv4 address, the /64 of an IPv6 one (a customer has that
 * many), a user's id on a unix socket. */
struct guest_key {
    uint64_t high;
    uint64_t low;
};

struct guest_key_entry;

/* Embedded in the owner's connection. */
struct guest {
    int fd; /* borrowed: open until guests_leave() */
    unsigned class;
    bool present; /* counted; not when it was sent away */
    bool waits;
    bool timed;
    int64_t deadline_ms;
    bool keyed; /* the limit by key is for it */
    struct guest_key id;
    struct guest_key_entry *key; /* shared by those of one key; NULL outside of class 0 */
    TAILQ_ENTRY(guest) in_class; /* of those that wait, oldest first */
    TAILQ_ENTRY(guest) in_key;
    TAILQ_ENTRY(guest) in_wheel;
};
TAILQ_HEAD(guest_list, guest);

struct guest_key_entry {
    struct guest_key key;
    unsigned count;
    struct guest_list waiting;
    LIST_ENTRY(guest_key_entry) next;
};
LIST_HEAD(guest_key_list, guest_key_entry);

/* Class 0 is where everybody enters; `per_key` bounds what one key holds of it (0: no bound). */
struct guest_limits {
    unsigned classes;
    unsigned max[GUEST_CLASSES_MAX];
    unsigned per_key;
};

struct guests {
    pthread_mutex_t mutex;
    struct guest_limits limits;
    unsigned count[GUEST_CLASSES_MAX];
    struct guest_list waiting[GUEST_CLASSES_MAX];
    struct guest_list wheel[GUEST_WHEEL]; /* by the second of the deadline */
    int64_t wheel_s;                      /* all seconds before were looked at */
    uint64_t seeds[2];                    /* nobody outside can make keys collide */
    struct guest_key_list keys[GUEST_KEYS];
    uint64_t displaced; /* sent away for room, since the start */
    uint64_t expired;   /* sent away at the deadline */
    uint64_t refused;   /* turned away at once */
};

void guests_init(struct guests *guests, const struct guest_limits *limits, int64_t now_ms);
/* All guests have left. */
void guests_finish(struct guests *guests);

/* `key` NULL: the limit by key is not for this one. The guest waits from now on. False: there is no
 * room; the guest is not in, and guests_leave() may be called or not. */
bool guests_enter(struct guests *guests, struct guest *guest, int fd, const struct guest_key *key,
                  int64_t deadline_ms);
/* It waits for its client: from now on the youngest of those that may be sent away. */
void guests_await(struct guests *guests, struct guest *guest, int64_t deadline_ms);
/* It is not sent away for room; at its deadline it is (GUEST_NO_DEADLINE: never). */
void guests_busy(struct guests *guests, struct guest *guest, int64_t deadline_ms);
/* False: there is no room in that class; it stays where it was. */
bool guests_classify(struct guests *guests, struct guest *guest, unsigned class);
/* Whether it left by itself; false: it had been sent away, or never was in. */
bool guests_leave(struct guests *guests, struct guest *guest);

void guests_expire(struct guests *guests, int64_t now_ms);

/* The key of an internet address; false: a loopback address, or none at all. */
bool guest_key_of(const struct sockaddr *address, struct guest_key *ret);
/* A number that nobody without the seeds can predict or aim at. */
uint64_t guest_hash(const struct guest_key *key, const uint64_t seeds[2]);

#endif
