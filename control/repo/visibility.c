/* visibility.c - see visibility.h. */
#include "control/repo/visibility.h"

#include <string.h>

enum verdict { ABSENT, PRESENT, ALONE };

/* What the list says of one control plane: not named, named beside others, the only one. */
static enum verdict look_up(const struct repo_visibility *visibility, const char *text)
{
    const char *item = visibility->allowed;
    const char *end = item + visibility->allowed_size;
    bool present = false;
    bool others = false;

    if (!visibility->exists)
        return ABSENT;
    for (; item < end; item += strlen(item) + 1) {
        const bool everybody = strcmp(item, "*") == 0;
        const bool named = strcmp(item, text) == 0;

        present |= everybody || named;
        others |= !named;
    }
    if (!present && !visibility->allow_all)
        return ABSENT;
    return others || visibility->allow_all ? PRESENT : ALONE;
}

bool repo_visible_to(const struct repo_visibility *visibility, const char *text)
{
    return look_up(visibility, text) != ABSENT;
}

bool repo_same_visibility(const struct repo_visibility *a, const struct repo_visibility *b)
{
    return a->exists == b->exists && a->allow_all == b->allow_all &&
           a->allowed_size == b->allowed_size &&
           (a->allowed_size == 0 || memcmp(a->allowed, b->allowed, a->allowed_size) == 0);
}

bool repo_actor_sees(const struct uuid *actor, const struct repo_visibility *visibility)
{
    char text[UUID_TEXT_SIZE];

    return actor == NULL || repo_visible_to(visibility, uuid_format(actor, text));
}

static bool is_own(const struct uuid *actor, const struct repo_visibility *visibility)
{
    char text[UUID_TEXT_SIZE];

    return actor == NULL || look_up(visibility, uuid_format(actor, text)) == ALONE;
}

int repo_actor_may_change(const struct uuid *actor, const struct repo_visibility *visibility,
                          struct error *err)
{
    if (is_own(actor, visibility))
        return 0;
    return error_set(err, E_PERMISSION,
                     "Other control planes may use this realm too: a token that is bound to one of "
                     "them may read it, not change it.");
}

int repo_actor_may_allow(const struct uuid *actor, const struct repo_visibility *visibility,
                         struct error *err)
{
    char text[UUID_TEXT_SIZE];

    if (is_own(actor, visibility))
        return 0;
    return error_set(err, E_PERMISSION,
                     "A token that is bound to a control plane keeps realms for that one alone: "
                     "allowed_control_planes must be [\"%s\"].",
                     uuid_format(actor, text));
}

int repo_actor_may_use(const struct uuid *actor, const struct uuid *control_plane_id,
                       struct error *err)
{
    if (actor == NULL || uuid_equal(actor, control_plane_id))
        return 0;
    return error_set(err, E_PERMISSION, "These credentials are bound to another control plane.");
}
