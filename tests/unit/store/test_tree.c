/* test_tree.c - the bounded descent finds what LMDB finds, and damaged pages never lead it out of
 * the file.
 *
 * Files are made by LMDB. For damage they are copied into memory of exactly their size, so that the
 * sanitizers see every read beyond it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/bytes.h"
#include "store/files.h"
#include "store/lmdb_format.h"
#include "store/tree.h"
#include "tests/lib/lmdb_map.h"

enum { PREFIX = 0xff, HASH_KEY_BYTES = 9, NUMBERS = 300 };

static char dir[128];
static MDB_env *env;
static MDB_dbi unnamed;
static MDB_dbi numbers;

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static MDB_val val(const void *bytes, size_t size)
{
    return (MDB_val){size, (void *)(uintptr_t)bytes};
}

static void put(MDB_txn *txn, MDB_dbi table, MDB_val key, MDB_val value)
{
    assert_int_equal(mdb_put(txn, table, &key, &value, 0), 0);
}

static void hash_key(uint64_t hash, unsigned char key[HASH_KEY_BYTES])
{
    key[0] = PREFIX;
    bytes_put_u32_be(key + 1, (uint32_t)(hash >> 32));
    bytes_put_u32_be(key + 5, (uint32_t)hash);
}

/* `count` hashes in the unnamed table, each with its own bytes as value, every seventh in a page of
 * its own; `numbers` with integer keys. */
static void make(size_t count)
{
    unsigned char large[5000] = {0};
    MDB_txn *txn;

    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 2), 0);
    assert_int_equal(mdb_env_set_mapsize(env, (size_t)64 << 20), 0);
    assert_int_equal(mdb_env_open(env, dir, MDB_NOSYNC, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &unnamed), 0);
    assert_int_equal(mdb_dbi_open(txn, "numbers", MDB_CREATE | MDB_INTEGERKEY, &numbers), 0);
    for (uint64_t i = 0; i < count; i++) {
        unsigned char key[HASH_KEY_BYTES];

        hash_key(mix(i + 1), key);
        memcpy(large, key, sizeof(key));
        put(txn, unnamed, val(key, sizeof(key)),
            val(large, i % 7 == 0 ? sizeof(large) : sizeof(key)));
    }
    for (uint32_t i = 0; i < NUMBERS; i++) {
        uint32_t number = i * 3;

        put(txn, numbers, val(&number, sizeof(number)), val(&i, sizeof(i)));
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
}

static MDB_txn *begin(void)
{
    MDB_txn *txn;

    assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    return txn;
}

/* The unnamed table of the transaction, in LMDB's own map. */
static struct tree open_tree(MDB_txn *txn)
{
    const uint32_t six = 6;
    MDB_val key = val(&six, sizeof(six));
    struct tree tree;
    bool certain = false;
    MDB_stat stat;
    MDB_val value;

    assert_int_equal(mdb_get(txn, numbers, &key, &value), 0);
    assert_int_equal(mdb_env_stat(env, &stat), 0);
    assert_int_equal(tree_open(lmdb_map_of(value.mv_data, stat.ms_psize), stat.ms_psize,
                               mdb_txn_id(txn), &tree, &certain),
                     0);
    assert_true(certain);
    return tree;
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/tree.XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
    (void)state;
    if (env != NULL)
        mdb_env_close(env);
    env = NULL;
    return files_remove_tree(dir, NULL);
}

/* ---- the same as LMDB ---- */

static void expect_as_lmdb(MDB_cursor *cursor, const struct tree *tree, uint64_t hash)
{
    unsigned char bytes[HASH_KEY_BYTES];
    MDB_val key = val(bytes, sizeof(bytes));
    MDB_val theirs;
    MDB_val ours;
    int rc;

    hash_key(hash, bytes);
    rc = mdb_cursor_get(cursor, &key, &theirs, MDB_SET_RANGE);
    assert_true(rc == 0 || rc == MDB_NOTFOUND);
    assert_int_equal(tree_seek_hash(tree, PREFIX, hash, &ours), rc == 0 ? 0 : E_NOT_FOUND);
    if (rc == 0) {
        assert_int_equal(ours.mv_size, theirs.mv_size);
        assert_memory_equal(ours.mv_data, theirs.mv_data, theirs.mv_size);
    }
}

static void seeking_hashes_finds_what_lmdb_finds(void **state)
{
    static const size_t counts[] = {1, 2, 50, 5000, 40000};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        MDB_cursor *cursor;
        struct tree tree;
        MDB_txn *txn;

        make(counts[i]);
        txn = begin();
        tree = open_tree(txn);
        assert_int_equal(mdb_cursor_open(txn, unnamed, &cursor), 0);
        for (uint64_t n = 1; n <= 5000; n++) {
            uint64_t there = mix(mix(n) % counts[i] + 1);

            expect_as_lmdb(cursor, &tree, there); /* itself, and both sides of it */
            expect_as_lmdb(cursor, &tree, there + 1);
            expect_as_lmdb(cursor, &tree, there - 1);
            expect_as_lmdb(cursor, &tree, mix(n * 77)); /* anywhere */
            expect_as_lmdb(cursor, &tree, n);           /* at the ends */
            expect_as_lmdb(cursor, &tree, UINT64_MAX - n + 1);
        }
        mdb_cursor_close(cursor);
        mdb_txn_abort(txn);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
}

static void uneven_hashes_are_found_too(void **state)
{
    enum { COUNT = 4000 };
    MDB_cursor *cursor;
    struct tree tree;
    MDB_txn *txn;

    (void)state;
    make(1);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        unsigned char key[HASH_KEY_BYTES];

        hash_key(i * i, key); /* all at the lower end, ever farther apart */
        put(txn, unnamed, val(key, sizeof(key)), val(key, sizeof(key)));
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
    txn = begin();
    tree = open_tree(txn);
    assert_int_equal(mdb_cursor_open(txn, unnamed, &cursor), 0);
    for (uint64_t i = 0; i < COUNT; i++) {
        expect_as_lmdb(cursor, &tree, i * i);
        expect_as_lmdb(cursor, &tree, i * i + 1);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
}

static void named_table_with_integer_keys(void **state)
{
    MDB_txn *txn;
    struct tree tree;
    struct tree named;
    MDB_val value;

    (void)state;
    make(5000);
    txn = begin();
    tree = open_tree(txn);
    assert_int_equal(tree_open_named(&tree, "number", &named), E_NOT_FOUND);
    assert_int_equal(tree_open_named(&tree, "numbers", &named), 0);
    for (uint32_t i = 0; i < 3 * NUMBERS + 3; i++) {
        int rc = tree_get(&named, val(&i, sizeof(i)), &value);

        assert_int_equal(rc, i % 3 == 0 && i < 3 * NUMBERS ? 0 : E_NOT_FOUND);
        if (rc == 0) {
            assert_int_equal(value.mv_size, sizeof(uint32_t));
            assert_int_equal(bytes_get_u32(value.mv_data), i / 3);
        }
    }
    mdb_txn_abort(txn);
}

static void empty_table_has_nothing(void **state)
{
    struct tree named;
    struct tree tree;
    MDB_val value;
    uint32_t key = 1;
    MDB_dbi empty;
    MDB_txn *txn;

    (void)state;
    make(1);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "empty", MDB_CREATE, &empty), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    txn = begin();
    tree = open_tree(txn);
    assert_int_equal(tree_open_named(&tree, "empty", &named), 0);
    assert_int_equal(tree_get(&named, val(&key, sizeof(key)), &value), E_NOT_FOUND);
    assert_int_equal(tree_seek_hash(&named, PREFIX, 1, &value), E_NOT_FOUND);
    mdb_txn_abort(txn);
}

/* ---- walking ---- */

/* From `from` to the end, beside LMDB's own cursor. */
static void walk_as_lmdb(const struct tree *tree, MDB_cursor *cursor, MDB_val from)
{
    struct tree_walk walk;
    MDB_val key = from;
    MDB_val value;
    int theirs = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    int ours = tree_walk_begin(&walk, tree, from);

    while (theirs == 0) {
        assert_int_equal(ours, 0);
        assert_int_equal(walk.key.mv_size, key.mv_size);
        assert_memory_equal(walk.key.mv_data, key.mv_data, key.mv_size);
        assert_int_equal(walk.value.mv_size, value.mv_size);
        assert_memory_equal(walk.value.mv_data, value.mv_data, value.mv_size);
        theirs = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        ours = tree_walk_next(&walk);
    }
    assert_int_equal(theirs, MDB_NOTFOUND);
    assert_int_equal(ours, E_NOT_FOUND);
}

static void walk_shows_what_lmdb_shows(void **state)
{
    static const size_t counts[] = {1, 2, 50, 5000, 40000};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        unsigned char from[HASH_KEY_BYTES];
        MDB_cursor *cursor;
        struct tree named;
        struct tree tree;
        MDB_txn *txn;

        make(counts[i]);
        txn = begin();
        tree = open_tree(txn);
        assert_int_equal(mdb_cursor_open(txn, unnamed, &cursor), 0);
        for (unsigned j = 0; j < 16; j++) {
            hash_key((uint64_t)j << 60, from);
            walk_as_lmdb(&tree, cursor, val(from, sizeof(from)));
        }
        walk_as_lmdb(&tree, cursor, val("a", 1)); /* with the names of tables */
        mdb_cursor_close(cursor);
        assert_int_equal(tree_open_named(&tree, "numbers", &named), 0);
        assert_int_equal(mdb_cursor_open(txn, numbers, &cursor), 0);
        for (uint32_t number = 0; number < 3 * NUMBERS; number += 100)
            walk_as_lmdb(&named, cursor, val(&number, sizeof(number)));
        mdb_cursor_close(cursor);
        mdb_txn_abort(txn);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
    }
}

/* Deleting and putting again leaves pages as LMDB keeps them, not as a load packs them. */
static void walk_shows_what_lmdb_shows_after_changes(void **state)
{
    enum { COUNT = 3000, ROUNDS = 12, CHANGES = 1500 };
    unsigned char from[1] = {PREFIX};
    uint64_t n = 0;

    (void)state;
    make(COUNT);
    for (unsigned round = 0; round < ROUNDS; round++) {
        MDB_cursor *cursor;
        struct tree tree;
        MDB_txn *txn;

        assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
        for (unsigned i = 0; i < CHANGES; i++) {
            unsigned char bytes[HASH_KEY_BYTES + 300] = {0};
            MDB_val key = val(bytes, HASH_KEY_BYTES);

            hash_key(mix(mix(++n) % COUNT + 1), bytes);
            if (mix(n + 1) % 2 == 0)
                put(txn, unnamed, key, val(bytes, mix(n) % sizeof(bytes)));
            else
                (void)mdb_del(txn, unnamed, &key, NULL); /* it may be gone */
        }
        assert_int_equal(mdb_txn_commit(txn), 0);
        txn = begin();
        tree = open_tree(txn);
        assert_int_equal(mdb_cursor_open(txn, unnamed, &cursor), 0);
        walk_as_lmdb(&tree, cursor, val(from, sizeof(from)));
        mdb_cursor_close(cursor);
        mdb_txn_abort(txn);
    }
}

/* ---- guesses ---- */

enum { LOADED = 2048 };

static uint64_t loaded_hash(uint64_t i)
{
    return i << 53; /* even */
}

/* Values of a page each, appended in order; then a transaction that reads them. */
static MDB_txn *load(struct tree *ret)
{
    unsigned char value[4000] = {0};
    MDB_txn *txn;

    make(0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    for (uint64_t i = 0; i < LOADED; i++) {
        unsigned char bytes[HASH_KEY_BYTES];
        MDB_val key = val(bytes, sizeof(bytes));
        MDB_val data = val(value, sizeof(value));

        hash_key(loaded_hash(i), bytes);
        assert_int_equal(mdb_put(txn, unnamed, &key, &data, MDB_APPEND), 0);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
    txn = begin();
    *ret = open_tree(txn);
    return txn;
}

static uint64_t page_of(const struct tree *tree, uint64_t hash, const unsigned char **ret)
{
    MDB_val value;

    assert_int_equal(tree_seek_hash(tree, PREFIX, hash, &value), 0);
    *ret = value.mv_data;
    return (uint64_t)(*ret - tree->map) / tree->page_bytes;
}

static void loaded_values_are_where_others_let_expect(void **state)
{
    struct tree tree;
    MDB_txn *txn = load(&tree);
    const unsigned char *at;

    (void)state;
    for (uint64_t i = 0; i < LOADED; i++) {
        const uint64_t known = mix(i) % LOADED;
        const uint64_t page = page_of(&tree, loaded_hash(i), &at);
        uint64_t guess;

        (void)page_of(&tree, loaded_hash(known), &at);
        guess = tree_guess(&tree, loaded_hash(i), loaded_hash(known), at);
        assert_in_range(guess, page - 2, page + 1); /* a page of leaves may stand between */
    }
    mdb_txn_abort(txn);
}

static void guess_is_a_page_of_the_file_or_none(void **state)
{
    struct tree tree;
    MDB_txn *txn = load(&tree);

    (void)state;
    assert_int_equal(tree_guess(&tree, 1, 0, NULL), 0);
    assert_int_equal(tree_guess(&tree, 1, 0, tree.map - 1), 0);
    assert_int_equal(tree_guess(&tree, 1, 0, tree.map + tree.pages * tree.page_bytes), 0);
    for (uint64_t i = 0; i < 10000; i++) {
        const unsigned char *at = tree.map + mix(i) % (tree.pages * tree.page_bytes);
        uint64_t guess = tree_guess(&tree, mix(i << 20), mix(i << 40), at);

        assert_true(guess < tree.pages);
        tree_fetch(&tree, guess);
    }
    tree.spread = UINT64_MAX; /* of a damaged page */
    assert_true(tree_guess(&tree, UINT64_MAX, 0, tree.map + tree.page_bytes) < tree.pages);
    assert_true(tree_guess(&tree, 0, UINT64_MAX, tree.map + tree.page_bytes) < tree.pages);
    mdb_txn_abort(txn);
}

/* ---- which transaction ---- */

static void commit_something(uint32_t what)
{
    MDB_txn *txn;

    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    put(txn, numbers, val(&what, sizeof(what)), val(&what, sizeof(what)));
    assert_int_equal(mdb_txn_commit(txn), 0);
}

static void later_commits_are_told(void **state)
{
    struct tree first;
    struct tree tree;
    bool certain = true;
    MDB_txn *txn;
    size_t id;

    (void)state;
    make(100);
    txn = begin();
    id = mdb_txn_id(txn);
    first = open_tree(txn);
    commit_something(1);
    assert_int_equal(tree_open(first.map, first.page_bytes, id, &tree, &certain), 0);
    assert_false(certain); /* the next commit will overwrite this root's page */
    assert_int_equal(tree.root, first.root);
    commit_something(2);
    assert_int_equal(tree_open(first.map, first.page_bytes, id, &tree, &certain), E_OVERTAKEN);
    mdb_txn_abort(txn);
}

/* ---- damage ---- */

struct copy {
    unsigned char *bytes; /* exactly the file */
    size_t size;
    size_t page_bytes;
    uint64_t txn_id;
};

static void copy_file(struct copy *ret)
{
    char path[160];
    MDB_stat stat;
    MDB_txn *txn = begin();
    FILE *file;
    long size;

    ret->txn_id = mdb_txn_id(txn);
    mdb_txn_abort(txn);
    assert_int_equal(mdb_env_stat(env, &stat), 0);
    ret->page_bytes = stat.ms_psize;
    (void)snprintf(path, sizeof(path), "%s/data.mdb", dir);
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = ftell(file);
    assert_true(size > 0);
    rewind(file);
    ret->size = (size_t)size;
    ret->bytes = malloc(ret->size);
    assert_non_null(ret->bytes);
    assert_int_equal(fread(ret->bytes, 1, ret->size, file), ret->size);
    assert_int_equal(fclose(file), 0);
}

/* The commit that overwrites a meta page writes the tables before the transaction's number: a
 * reader that is slow between its beginning and its reading sees the two of different commits. */
static void meta_page_that_is_torn_while_a_commit_ends_is_not_taken(void **state)
{
    struct tree_candidate former = {.version = 0};
    struct copy copy;
    struct tree first;
    struct tree tree;
    unsigned char *meta;
    MDB_txn *txn;
    size_t id;

    (void)state;
    make(100);
    txn = begin();
    id = mdb_txn_id(txn);
    first = open_tree(txn);
    mdb_txn_abort(txn);
    commit_something(1);
    copy_file(&copy);
    assert_int_equal(tree_open_begun(copy.bytes, copy.page_bytes, id, &former, &tree), E_OVERTAKEN);
    meta = copy.bytes + id % META_PAGES * copy.page_bytes;
    memset(meta + META_AT_UNNAMED, 0xff, META_AT_TXN - META_AT_UNNAMED);
    assert_int_equal(tree_open_begun(copy.bytes, copy.page_bytes, id, &former, &tree), 0);
    assert_int_equal(tree.root, first.root);
    assert_int_equal(tree.pages, first.pages);
    free(copy.bytes);
}

static void expect_inside(const struct copy *copy, int rc, const MDB_val *value)
{
    const unsigned char *bytes = value->mv_data;

    assert_true(rc == 0 || rc == E_NOT_FOUND || rc == E_CORRUPT || rc == E_OVERTAKEN);
    if (rc == 0) {
        assert_true(bytes >= copy->bytes);
        assert_true(value->mv_size <= (size_t)(copy->bytes + copy->size - bytes));
    }
}

/* Asks for some keys of every table; whatever the answers are, they lie within the file. */
static void ask_all(const struct copy *copy)
{
    struct tree tree;
    struct tree named;
    bool certain;
    MDB_val value;
    int rc = tree_open(copy->bytes, copy->page_bytes, copy->txn_id, &tree, &certain);

    if (rc != 0)
        return;
    tree.pages = copy->size / copy->page_bytes; /* the meta pages are not what is damaged here */
    for (uint64_t n = 0; n < 16; n++) {
        rc = tree_seek_hash(&tree, PREFIX, n << 60, &value);
        expect_inside(copy, rc, &value);
    }
    if (tree_open_named(&tree, "numbers", &named) != 0)
        return;
    for (uint32_t n = 0; n < 3 * NUMBERS; n += 111) {
        rc = tree_get(&named, val(&n, sizeof(n)), &value);
        expect_inside(copy, rc, &value);
    }
}

static void flipped_bits_of_pages_stay_inside_the_file(void **state)
{
    struct copy copy;

    (void)state;
    make(300);
    copy_file(&copy);
    for (size_t page = META_PAGES; page < copy.size / copy.page_bytes; page++) {
        unsigned char *bytes = copy.bytes + page * copy.page_bytes;
        unsigned nodes = bytes_get_u16(bytes + PAGE_AT_LOWER);
        bool tree_page = (bytes_get_u16(bytes + PAGE_AT_FLAGS) & PAGE_OVERFLOW) == 0;

        /* The head and the pointers; of nodes and values a sample. */
        for (size_t at = 0; at < copy.page_bytes; at += at < nodes && tree_page ? 1 : 13) {
            for (int bit = 0; bit < 8; bit++) {
                bytes[at] ^= (unsigned char)(1 << bit);
                ask_all(&copy);
                bytes[at] ^= (unsigned char)(1 << bit);
            }
        }
    }
    free(copy.bytes);
}

/* Steps from key to key through the damaged copy end, and with a "no more" only if nothing was left
 * out. */
static void walk_damaged(const struct copy *copy, size_t expected)
{
    struct tree_walk walk;
    size_t count = 0;
    struct tree tree;
    bool certain;
    int rc;

    assert_int_equal(tree_open(copy->bytes, copy->page_bytes, copy->txn_id, &tree, &certain), 0);
    for (rc = tree_walk_begin(&walk, &tree, val("", 0)); rc == 0; rc = tree_walk_next(&walk)) {
        expect_inside(copy, 0, &walk.value);
        assert_true(++count <= expected);
    }
    if (rc == E_NOT_FOUND)
        assert_int_equal(count, expected);
    else
        assert_int_equal(rc, E_CORRUPT);
}

/* Seeking behind each key that was found, as a walk over many transactions does, ends too. */
static void seek_damaged(const struct copy *copy, size_t expected)
{
    unsigned char from[TREE_KEY_MAX_BYTES + 1] = {PREFIX};
    size_t size = 1;
    size_t count = 0;
    struct tree tree;
    bool certain;
    MDB_val value;
    MDB_val key;

    assert_int_equal(tree_open(copy->bytes, copy->page_bytes, copy->txn_id, &tree, &certain), 0);
    while (tree_seek(&tree, val(from, size), &key, &value) == 0) {
        assert_true(++count <= expected);
        assert_true(key.mv_size < sizeof(from));
        memcpy(from, key.mv_data, key.mv_size);
        from[key.mv_size] = 0;
        size = key.mv_size + 1;
    }
}

static void no_flipped_bit_makes_steps_go_in_circles_or_leave_a_pair_out(void **state)
{
    enum { COUNT = 400, STEP = 37 };
    const size_t step = getenv("REALMSTORE_SOAK") != NULL ? 1 : STEP;
    struct copy copy;

    (void)state;
    make(COUNT);
    copy_file(&copy);
    for (size_t page = META_PAGES; page < copy.size / copy.page_bytes; page++) {
        unsigned char *bytes = copy.bytes + page * copy.page_bytes;
        unsigned flags = bytes_get_u16(bytes + PAGE_AT_FLAGS);

        if (flags != PAGE_BRANCH && flags != PAGE_LEAF)
            continue;
        for (size_t bit = page % step; bit < copy.page_bytes * 8; bit += step) {
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            walk_damaged(&copy, COUNT + 1); /* with the name of the other table */
            seek_damaged(&copy, 2 * (size_t)COUNT);
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
    }
    free(copy.bytes);
}

static void pages_of_rubbish_stay_inside_the_file(void **state)
{
    struct copy copy;

    (void)state;
    make(300);
    copy_file(&copy);
    for (uint64_t round = 0; round < 200; round++) {
        for (size_t page = META_PAGES; page < copy.size / copy.page_bytes; page++) {
            unsigned char *bytes = copy.bytes + page * copy.page_bytes;

            if (mix(round << 20 | page) % 3 != 0)
                continue;
            for (size_t at = PAGE_HEAD_BYTES; at + 8 <= copy.page_bytes; at += 8)
                bytes_put_u64(bytes + at, mix(round * 1000003 + page * 8191 + at));
            if (round % 2 == 0) /* still a page by its head */
                continue;
            bytes_put_u64(bytes, mix(round + page));
            bytes_put_u64(bytes + 8, mix(round ^ page));
        }
        ask_all(&copy);
    }
    free(copy.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(seeking_hashes_finds_what_lmdb_finds, setup, teardown),
        cmocka_unit_test_setup_teardown(uneven_hashes_are_found_too, setup, teardown),
        cmocka_unit_test_setup_teardown(named_table_with_integer_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_table_has_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(walk_shows_what_lmdb_shows, setup, teardown),
        cmocka_unit_test_setup_teardown(walk_shows_what_lmdb_shows_after_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(
            no_flipped_bit_makes_steps_go_in_circles_or_leave_a_pair_out, setup, teardown),
        cmocka_unit_test_setup_teardown(loaded_values_are_where_others_let_expect, setup, teardown),
        cmocka_unit_test_setup_teardown(guess_is_a_page_of_the_file_or_none, setup, teardown),
        cmocka_unit_test_setup_teardown(later_commits_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(meta_page_that_is_torn_while_a_commit_ends_is_not_taken,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(flipped_bits_of_pages_stay_inside_the_file, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pages_of_rubbish_stay_inside_the_file, setup, teardown),
    };

    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
