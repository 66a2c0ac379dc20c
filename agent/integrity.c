/* What follows from comparisons with the source; integrity.h has the table. */
#include "agent/integrity.h"

struct feed_wish integrity_connect(struct integrity *integrity)
{
    integrity->asked = integrity->wish;
    return integrity->wish;
}

void integrity_connected_without(struct integrity *integrity)
{
    integrity->asked = (struct feed_wish){.kind = FEED_WISH_NONE};
}

/* Whether what was applied answers the connection's wish. One that was replaced meanwhile stays:
 * the next connection asks for it. */
static bool integrity_take_answer(struct integrity *integrity,
                                  const struct apply_compared *compared)
{
    if (compared->answered == FEED_WISH_NONE || integrity->asked.kind == FEED_WISH_NONE)
        return false;
    if (feed_wish_equal(&integrity->asked, &integrity->wish))
        integrity->wish = (struct feed_wish){.kind = FEED_WISH_NONE};
    integrity->asked = (struct feed_wish){.kind = FEED_WISH_NONE};
    integrity->unanswered = 0;
    return true;
}

enum integrity_step integrity_unanswered(struct integrity *integrity)
{
    if (integrity->asked.kind == FEED_WISH_NONE || integrity->wish.kind == FEED_WISH_NONE)
        return INTEGRITY_NOTHING;
    if (++integrity->unanswered < INTEGRITY_UNANSWERED_MAX)
        return INTEGRITY_ASK;
    *integrity = (struct integrity){.given_up = true};
    return INTEGRITY_GIVE_UP;
}

enum integrity_step integrity_compare_all(struct integrity *integrity)
{
    integrity->given_up = false;
    if (integrity->wish.kind != FEED_WISH_NONE)
        return INTEGRITY_NOTHING; /* it ends with a full comparison */
    integrity->wish = (struct feed_wish){.kind = FEED_WISH_DIGESTS};
    return INTEGRITY_ASK;
}

void integrity_loaded(struct integrity *integrity)
{
    *integrity = (struct integrity){.given_up = integrity->given_up};
    if (!integrity->given_up)
        integrity->wish.kind = FEED_WISH_DIGESTS;
}

enum integrity_step integrity_suspect(struct integrity *integrity, uint32_t scope)
{
    if (integrity->given_up || integrity->wish.kind == FEED_WISH_BUCKETS ||
        integrity->wish.kind == FEED_WISH_CONTENT)
        return INTEGRITY_NOTHING; /* under way, and followed by a full comparison */
    integrity->wish = (struct feed_wish){.kind = FEED_WISH_BUCKETS, .scope = scope};
    integrity->left = 0;
    return INTEGRITY_ASK;
}

/* As many of the differing buckets as may come at once, the lowest first: the realm's own record is
 * in bucket 0. */
static void ask_for_content(struct integrity *integrity, const struct apply_compared *compared,
                            uint64_t consumers)
{
    uint64_t room = INTEGRITY_CONSUMERS_MAX / (consumers / SET_HASH_BUCKETS + 1);

    integrity->wish = (struct feed_wish){.kind = FEED_WISH_CONTENT, .scope = compared->scope};
    if (room == 0)
        room = 1;
    for (unsigned bucket = 0; room > 0 && bucket < SET_HASH_BUCKETS; bucket++) {
        if (!set_hash_marked(&compared->differing, bucket))
            continue;
        set_hash_mark(&integrity->wish.buckets, bucket);
        room--;
    }
}

static enum integrity_step give_up(struct integrity *integrity)
{
    *integrity = (struct integrity){.given_up = true};
    return INTEGRITY_SNAPSHOT;
}

static enum integrity_step repair(struct integrity *integrity,
                                  const struct apply_compared *compared, uint64_t consumers)
{
    unsigned left = set_hash_marks_count(&compared->differing);

    if (left == 0) /* the sum alone was wrong, and is right now */
        return integrity_compare_all(integrity);
    if (integrity->left != 0 && left >= integrity->left &&
        ++integrity->fruitless >= INTEGRITY_FRUITLESS_MAX)
        return give_up(integrity);
    integrity->left = left;
    ask_for_content(integrity, compared, consumers);
    return INTEGRITY_ASK;
}

enum integrity_step integrity_applied(struct integrity *integrity,
                                      const struct apply_compared *compared, uint64_t consumers)
{
    bool answered = integrity_take_answer(integrity, compared);

    if (compared->mismatches > 0) {
        if (integrity->wish.kind != FEED_WISH_NONE || integrity->given_up)
            return INTEGRITY_NOTHING;
        return compared->with_buckets ? repair(integrity, compared, consumers)
                                      : integrity_suspect(integrity, compared->scope);
    }
    if (!answered)
        return INTEGRITY_NOTHING;
    integrity->left = integrity->fruitless = 0;
    return compared->answered == FEED_WISH_DIGESTS ? INTEGRITY_NOTHING
                                                   : integrity_compare_all(integrity);
}
