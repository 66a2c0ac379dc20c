/* identity.h - the request headers that tell an upstream who is asking, and how names and values
 * of headers are compared and written.
 */
#ifndef GATE_IDENTITY_H
#define GATE_IDENTITY_H

#include "gateway/core/text.h"

enum gate_header {
    GATE_HEADER_ID,
    GATE_HEADER_USERNAME,
    GATE_HEADER_CUSTOM_ID,
    GATE_HEADER_CREDENTIAL,
    GATE_HEADER_ANONYMOUS,
    GATE_HEADER_GROUPS,
    GATE_HEADERS /* how many there are */
};

/* "X-Consumer-ID" and so on. */
struct gate_text gate_header_name(enum gate_header header);
/* Whether an upstream which folds names as CGI does may take `name` for one of these. */
bool gate_header_says_who(struct gate_text name);
/* Whether a request header is the one that a key name means: in any case, and - for _. */
bool gate_header_is_key(struct gate_text header, struct gate_text key_name);
/* Whether it is one that such an upstream may take for it: what is hidden, and not logged. */
bool gate_header_may_be_key(struct gate_text header, struct gate_text key_name);

/* Percent-encodes what must not stand in a header: controls, marks that turn the direction of
 * writing, bytes that are no UTF-8, and blanks at the ends, which readers take off; in a list its
 * separator, too, so that no value becomes two. Whether there is anything, and the text, of up to
 * GATE_ESCAPED_SIZE times as much; gives its size. */
enum { GATE_ESCAPED_SIZE = 3 };
bool gate_value_is_plain(struct gate_text value, bool in_list);
size_t gate_value_escape(struct gate_text value, bool in_list, char *out);

/* Groups as one text, separated by a comma and a space: its greatest size, and the text. */
size_t gate_groups_size(const struct gate_text *groups, size_t n);
size_t gate_groups_join(const struct gate_text *groups, size_t n, char *out);

#endif
