/* redact.h - keys in text that is about to be logged: request lines, URLs, header lines, whole
 * lines of a log.
 *
 *     GET /x?a=1&apikey=K&b=2 HTTP/1.1      GET /x?a=1&apikey=***&b=2 HTTP/1.1
 *     "apikey: K"                           "apikey: ***"
 *
 * Such text was not made to be read again, so that more is taken for a value than may be one: all
 * up to the next &, closing quote, end of the line or " HTTP/". Names are found in any case.
 */
#ifndef GATE_REDACT_H
#define GATE_REDACT_H

#include "gateway/core/text.h"

/* Whether there is anything to take out. */
bool gate_redact_is_needed(struct gate_text text, struct gate_names names);
/* Writes the text with stars for the values, at most as much as there was; gives the size. */
size_t gate_redact(struct gate_text text, struct gate_names names, char *out);

#endif
