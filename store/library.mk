# What librealmstore is made of: the reader, the formats it reads, and the helpers of base/ it needs.
LIBRARY_SRC := store/reader.c store/reader_view.c store/reader_place.c store/reader_lookup.c store/reader_find.c store/reader_consumer.c \
               store/reader_copy.c store/reader_retained.c store/retained.c \
               store/generation.c store/env.c store/lmdb_code.c store/env_sync.c store/env_view.c store/env_slots.c store/env_check.c store/env_read.c \
               store/layout.c store/record.c store/checksum.c store/entry.c store/bucket.c store/tree.c store/tree_walk.c store/trees.c \
               store/status.c store/files.c \
               base/buffer.c base/clock.c base/digest.c base/error.c base/grammar.c base/hex.c base/own.c base/utf8.c base/uuid.c base/wipe.c
