/* concerns.c - did one version touch anything that a control plane may see?
 *
 * A touched realm counts when it was visible before the version or after it; a touched consumer or
 * key when its scope was visible at the version. "At the version" is what the realm's next entry in
 * the log calls "before", or, without one, its row. Callers ask right after the commit, so that the
 * walk is short.
 */
#include "control/repo/lmdb/repo_lmdb.h"

struct question {
    const struct repo_txn *txn;
    const struct repo_touched *viewer; /* who asks */
    uint64_t version;
    uint64_t newest;
    bool answer;
};

struct search {
    const struct question *question;
    const struct uuid *realm_id;
    bool visible;
};

/* Ends a walk early; never leaves this file. */
enum { FOUND = 1 };

static int visit_later(void *context, const struct repo_log_position *position,
                       const struct repo_touch *touch, struct error *err)
{
    struct search *search = context;

    (void)position;
    (void)err;
    if (touch->kind != REPO_TOUCH_REALM || !uuid_equal(&touch->scope.id, search->realm_id))
        return 0;
    search->visible = repo_visible_to(&touch->before, search->question->viewer->control_plane);
    return FOUND;
}

static int visible_at_version(const struct question *question, const struct repo_scope *scope,
                              bool *ret, struct error *err)
{
    struct search search = {.question = question, .realm_id = &scope->id};
    struct repo_scope_view view;
    int rc = 0;

    if (scope->kind == REPO_SCOPE_REALM)
        rc = repo_log_walk(question->txn, question->version, question->newest, visit_later, &search,
                           err);
    if (rc == FOUND) {
        *ret = search.visible;
        return 0;
    }
    if (rc == 0)
        rc = repo_scope_view(question->txn, scope, question->viewer, &view, err);
    if (rc == 0)
        *ret = view.visible;
    return rc;
}

static int visit_touch(void *context, const struct repo_log_position *position,
                       const struct repo_touch *touch, struct error *err)
{
    struct question *question = context;
    int rc = 0;

    (void)position;
    question->answer = touch->kind == REPO_TOUCH_REALM &&
                       repo_visible_to(&touch->before, question->viewer->control_plane);
    if (!question->answer)
        rc = visible_at_version(question, &touch->scope, &question->answer, err);
    return rc == 0 && question->answer ? FOUND : rc;
}

static int ask(struct question *question, struct error *err)
{
    struct repo_state state;
    int rc = repo_state_read(question->txn, &state, err);

    if (rc != 0 || question->version <= state.oldest || question->version > state.version)
        return rc;
    question->newest = state.version;
    rc = repo_log_walk(question->txn, question->version - 1, question->version, visit_touch,
                       question, err);
    return rc == FOUND ? 0 : rc;
}

int lmdb_concerns(struct repo *repo, uint64_t version, const struct uuid *control_plane_id,
                  bool *ret, struct error *err)
{
    struct repo_touched viewer = {.control_plane_id = *control_plane_id};
    struct question question = {.viewer = &viewer, .version = version};
    struct repo_txn txn;
    int rc = repo_snapshot_begin(repo_lmdb(repo), &txn, err);

    if (rc != 0)
        return rc;
    uuid_format(control_plane_id, viewer.control_plane);
    question.txn = &txn;
    rc = ask(&question, err);
    repo_read_end(&txn);
    if (rc == 0)
        *ret = question.answer;
    return rc;
}
