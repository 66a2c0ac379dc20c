/* change_names.h - the words of the feed's enumerations; shared by the encoder and the decoder. */
#ifndef RS_SYNC_CHANGE_NAMES_H
#define RS_SYNC_CHANGE_NAMES_H

#include "base/model.h"

/* "proxy", "developer", "admin" or "application"; static. */
const char *change_consumer_type_text(enum model_consumer_type type);

#endif
