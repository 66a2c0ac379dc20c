/* guests.c - see guests.h. Every operation is a constant number of steps, but for the hash of keys,
 * which is as short as the guests are few.
 */
#include "base/guests.h"

#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/random.h>

enum { MS_PER_S = 1000 };

/* ---- keys ---- */

uint64_t guest_hash(const struct guest_key *key, const uint64_t seeds[2])
{
    uint64_t mixed = (key->high ^ seeds[0]) * (seeds[1] | 1);

    mixed = (mixed ^ mixed >> 32 ^ key->low) * (seeds[0] | 1);
    mixed = (mixed ^ mixed >> 29) * UINT64_C(0xbf58476d1ce4e5b9); /* splitmix64's */
    return mixed ^ mixed >> 32;
}

static bool key_of_v4(uint32_t address, struct guest_key *ret)
{
    *ret = (struct guest_key){0, UINT64_C(0xffff00000000) | address};
    return address >> 24 != IN_LOOPBACKNET;
}

static uint64_t load_be64(const uint8_t *bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

bool guest_key_of(const struct sockaddr *address, struct guest_key *ret)
{
    const struct in6_addr *v6;

    *ret = (struct guest_key){0, 0};
    if (address == NULL)
        return false;
    if (address->sa_family == AF_INET)
        return key_of_v4(
            ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr), ret);
    if (address->sa_family != AF_INET6)
        return false;
    v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(v6))
        return key_of_v4((uint32_t)load_be64(v6->s6_addr + 8), ret);
    ret->high = load_be64(v6->s6_addr);
    ret->low = IN6_IS_ADDR_LOOPBACK(v6) ? 1 : 0;
    return !IN6_IS_ADDR_LOOPBACK(v6);
}

static struct guest_key_list *guests_bucket_of(struct guests *guests, const struct guest_key *key)
{
    return &guests->keys[guest_hash(key, guests->seeds) % GUEST_KEYS];
}

/* The entry of the guest's key, made when it is not there; NULL: out of memory. */
static struct guest_key_entry *guests_find_key(struct guests *guests, const struct guest_key *key)
{
    struct guest_key_entry *entry;

    for (entry = LIST_FIRST(guests_bucket_of(guests, key)); entry != NULL;
         entry = LIST_NEXT(entry, next)) {
        if (entry->key.high == key->high && entry->key.low == key->low)
            return entry;
    }
    entry = calloc(1, sizeof(*entry));
    if (entry == NULL)
        return NULL;
    entry->key = *key;
    TAILQ_INIT(&entry->waiting);
    LIST_INSERT_HEAD(guests_bucket_of(guests, key), entry, next);
    return entry;
}

static void hold_key(struct guests *guests, struct guest *guest)
{
    if (!guest->keyed)
        return;
    guest->key = guests_find_key(guests, &guest->id);
    if (guest->key != NULL) /* without memory this one is not counted */
        guest->key->count++;
}

static void release_key(struct guest *guest)
{
    struct guest_key_entry *entry = guest->key;

    guest->key = NULL;
    if (entry == NULL || --entry->count > 0)
        return;
    LIST_REMOVE(entry, next);
    free(entry);
}

/* ---- lists ---- */

static void set_deadline(struct guests *guests, struct guest *guest, int64_t deadline_ms)
{
    if (guest->timed)
        TAILQ_REMOVE(&guests->wheel[guest->deadline_ms / MS_PER_S % GUEST_WHEEL], guest, in_wheel);
    guest->timed = deadline_ms != GUEST_NO_DEADLINE;
    if (!guest->timed)
        return;
    /* The wheel may have turned past a deadline of this very second. */
    if (deadline_ms / MS_PER_S < guests->wheel_s)
        deadline_ms = guests->wheel_s * MS_PER_S;
    guest->deadline_ms = deadline_ms;
    TAILQ_INSERT_TAIL(&guests->wheel[deadline_ms / MS_PER_S % GUEST_WHEEL], guest, in_wheel);
}

static void unlist(struct guests *guests, struct guest *guest)
{
    if (guest->waits) {
        TAILQ_REMOVE(&guests->waiting[guest->class], guest, in_class);
        if (guest->key != NULL)
            TAILQ_REMOVE(&guest->key->waiting, guest, in_key);
    }
    guest->waits = false;
}

static void list(struct guests *guests, struct guest *guest)
{
    unlist(guests, guest);
    TAILQ_INSERT_TAIL(&guests->waiting[guest->class], guest, in_class);
    if (guest->key != NULL)
        TAILQ_INSERT_TAIL(&guest->key->waiting, guest, in_key);
    guest->waits = true;
}

static void remove_guest(struct guests *guests, struct guest *guest)
{
    if (!guest->present)
        return;
    set_deadline(guests, guest, GUEST_NO_DEADLINE);
    unlist(guests, guest);
    release_key(guest);
    guests->count[guest->class]--;
    guest->present = false;
}

static void send_away(struct guests *guests, struct guest *guest)
{
    remove_guest(guests, guest);
    (void)shutdown(guest->fd, SHUT_RDWR); /* fails when the peer was faster */
}

static bool displace(struct guests *guests, struct guest_list *from)
{
    struct guest *oldest = TAILQ_FIRST(from);

    if (oldest == NULL)
        return false;
    guests->displaced++;
    send_away(guests, oldest);
    return true;
}

/* Room for the guest, which is not counted there yet. */
static bool guests_make_room(struct guests *guests, struct guest *guest, unsigned class)
{
    const struct guest_limits *limits = &guests->limits;

    if (guest->key != NULL && limits->per_key > 0 && guest->key->count > limits->per_key &&
        !displace(guests, &guest->key->waiting))
        return false;
    return guests->count[class] < limits->max[class] || displace(guests, &guests->waiting[class]);
}

/* ---- calls ---- */

void guests_init(struct guests *guests, const struct guest_limits *limits, int64_t now_ms)
{
    memset(guests, 0, sizeof(*guests));
    guests->limits = *limits;
    guests->wheel_s = now_ms / MS_PER_S;
    (void)pthread_mutex_init(&guests->mutex, NULL); /* default attributes: cannot fail */
    /* Fails only while the kernel has no entropy: then the hash is as good as any without seeds. */
    (void)!getrandom(guests->seeds, sizeof(guests->seeds), GRND_NONBLOCK);
    for (unsigned i = 0; i < GUEST_CLASSES_MAX; i++)
        TAILQ_INIT(&guests->waiting[i]);
    for (unsigned i = 0; i < GUEST_WHEEL; i++)
        TAILQ_INIT(&guests->wheel[i]);
    for (unsigned i = 0; i < GUEST_KEYS; i++)
        LIST_INIT(&guests->keys[i]);
}

void guests_finish(struct guests *guests)
{
    (void)pthread_mutex_destroy(&guests->mutex); /* nobody holds it */
}

bool guests_enter(struct guests *guests, struct guest *guest, int fd, const struct guest_key *key,
                  int64_t deadline_ms)
{
    bool entered;

    *guest = (struct guest){.fd = fd, .keyed = key != NULL};
    if (key != NULL)
        guest->id = *key;
    pthread_mutex_lock(&guests->mutex);
    hold_key(guests, guest);
    entered = guest->present = guests_make_room(guests, guest, 0);
    if (entered) {
        guests->count[0]++;
        list(guests, guest);
        set_deadline(guests, guest, deadline_ms);
    } else {
        guests->refused++;
        release_key(guest);
    }
    pthread_mutex_unlock(&guests->mutex);
    return entered;
}

void guests_await(struct guests *guests, struct guest *guest, int64_t deadline_ms)
{
    pthread_mutex_lock(&guests->mutex);
    if (guest->present) {
        list(guests, guest);
        set_deadline(guests, guest, deadline_ms);
    }
    pthread_mutex_unlock(&guests->mutex);
}

void guests_busy(struct guests *guests, struct guest *guest, int64_t deadline_ms)
{
    pthread_mutex_lock(&guests->mutex);
    if (guest->present) {
        unlist(guests, guest);
        set_deadline(guests, guest, deadline_ms);
    }
    pthread_mutex_unlock(&guests->mutex);
}

/* Into another class, holding the key there alone where it counts. */
static bool move(struct guests *guests, struct guest *guest, unsigned class)
{
    const bool waits = guest->waits;

    unlist(guests, guest);
    if (class == 0)
        hold_key(guests, guest);
    if (!guests_make_room(guests, guest, class)) {
        if (class == 0)
            release_key(guest);
        if (waits)
            list(guests, guest);
        return false;
    }
    if (guest->class == 0)
        release_key(guest);
    guests->count[guest->class]--;
    guests->count[class]++;
    guest->class = class;
    if (waits)
        list(guests, guest);
    return true;
}

bool guests_classify(struct guests *guests, struct guest *guest, unsigned class)
{
    bool moved = true; /* one that was sent away is nobody's burden any more */

    pthread_mutex_lock(&guests->mutex);
    if (guest->present && guest->class != class)
        moved = move(guests, guest, class);
    if (!moved)
        guests->refused++;
    pthread_mutex_unlock(&guests->mutex);
    return moved;
}

bool guests_leave(struct guests *guests, struct guest *guest)
{
    bool present;

    pthread_mutex_lock(&guests->mutex);
    present = guest->present;
    remove_guest(guests, guest);
    pthread_mutex_unlock(&guests->mutex);
    return present;
}

static void expire_second(struct guests *guests, struct guest_list *slot, int64_t now_ms)
{
    struct guest *next;

    for (struct guest *guest = TAILQ_FIRST(slot); guest != NULL; guest = next) {
        next = TAILQ_NEXT(guest, in_wheel);
        if (guest->deadline_ms > now_ms)
            continue; /* later in this second, or in a later round of the wheel */
        guests->expired++;
        send_away(guests, guest);
    }
}

void guests_expire(struct guests *guests, int64_t now_ms)
{
    const int64_t now_s = now_ms / MS_PER_S;
    int64_t second;

    pthread_mutex_lock(&guests->mutex);
    second = guests->wheel_s;
    if (now_s - second >= GUEST_WHEEL) /* the host slept: each slot once */
        second = now_s - GUEST_WHEEL + 1;
    for (; second <= now_s; second++)
        expire_second(guests, &guests->wheel[second % GUEST_WHEEL], now_ms);
    guests->wheel_s = now_s;
    pthread_mutex_unlock(&guests->mutex);
}
