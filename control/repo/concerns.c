/* concerns.c - see concerns.h. */
#include "control/repo/concerns.h"

#include "control/repo/scopes.h"

struct question {
    struct repo_viewer *viewer; /* who asks */
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
    struct repo_view *view = question->viewer->view;
    struct repo_scope_view seen;
    int rc = 0;

    if (scope->kind == REPO_SCOPE_REALM)
        rc = view->ops->log(view, question->version, question->newest, visit_later, &search, err);
    if (rc == FOUND) {
        *ret = search.visible;
        return 0;
    }
    if (rc == 0)
        rc = repo_viewer_look(question->viewer, scope, &seen, err);
    if (rc == 0)
        *ret = seen.visible;
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

int repo_concerns_read(struct repo_view *view, uint64_t version,
                       const struct uuid *control_plane_id, bool *ret, struct error *err)
{
    struct repo_viewer viewer;
    struct question question = {.viewer = &viewer, .version = version};
    struct repo_view_head head;
    int rc = view->ops->head(view, &head, err);

    repo_viewer_init(&viewer, view, control_plane_id);
    if (rc != 0)
        return rc;
    question.newest = head.version;
    if (version > head.oldest && version <= head.version)
        rc = view->ops->log(view, version - 1, version, visit_touch, &question, err);
    if (rc != 0 && rc != FOUND)
        return rc;
    *ret = question.answer;
    return 0;
}
