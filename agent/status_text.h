/* status_text.h - the status server's pages, from a copy of the board. */
#ifndef RS_AGENT_STATUS_TEXT_H
#define RS_AGENT_STATUS_TEXT_H

#include <stdbool.h>

#include "agent/metrics.h"
#include "base/buffer.h"

enum { STATUS_PAGE_MAX_BYTES = 4 * 1024 * 1024 };

/* Prometheus text format, version 0.0.4. Buffer errors. */
int status_metrics(const struct board_copy *board, int64_t boot_ms, struct buffer *out);
/* One JSON object. */
int status_json(const struct board_copy *board, int64_t boot_ms, struct buffer *out);
/* Every source has a complete copy (and there is one). */
bool status_ready(const struct board_copy *board);

const char *status_state_text(enum source_state state); /* "EMPTY", "SYNCING", ...; static */

#endif
