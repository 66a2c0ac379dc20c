/* What all gateways decide alike: parameters, lines of logs, headers, verdicts, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <realmstore.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/core/args.h"
#include "gateway/core/identity.h"
#include "gateway/core/redact.h"
#include "gateway/core/refusal.h"
#include "gateway/core/verdict.h"

static const struct gate_text listed[] = {{"apikey", 6}, {"X_Key", 5}};
static const struct gate_names names = {listed, 2};

static struct gate_text text_of(const char *string)
{
    return (struct gate_text){string, strlen(string)};
}

static void assert_text(struct gate_text text, const char *expected)
{
    assert_int_equal(text.size, strlen(expected));
    assert_memory_equal(text.data, expected, text.size);
}

/* Both in memory of the exact size, so that a sanitizer sees one byte too many. */
static void assert_redacted(const char *line, const char *expected)
{
    size_t size = strlen(line);
    char *copy = malloc(size > 0 ? size : 1);
    char *out = malloc(size > 0 ? size : 1);
    struct gate_text text = {copy, size};

    assert_non_null(copy);
    assert_non_null(out);
    (void)gate_text_put(copy, text_of(line));
    assert_int_equal(gate_redact_is_needed(text, names), strcmp(line, expected) != 0);
    assert_text((struct gate_text){out, gate_redact(text, names, out)}, expected);
    free(copy);
    free(out);
}

static void lines_of_logs_lose_every_value_of_a_key(void **state)
{
    (void)state;
    assert_redacted("GET /?apikey=secret HTTP/1.1", "GET /?apikey=*** HTTP/1.1");
    assert_redacted("GET /?a=1&apikey=secret&b=2 HTTP/1.1", "GET /?a=1&apikey=***&b=2 HTTP/1.1");
    assert_redacted("GET /?apikey=secret", "GET /?apikey=***");
    assert_redacted("GET /?%61pikey=se&APIKEY=secret&x_key=secret",
                    "GET /?%61pikey=**&APIKEY=***&x_key=***");
    assert_redacted("request: \"GET /?apikey=sec ret HTTP/1.1\", host: \"a\"",
                    "request: \"GET /?apikey=*** HTTP/1.1\", host: \"a\"");
    assert_redacted("upstream: \"http://b/x?apikey=se\"cret\", host: \"a\", referrer: "
                    "\"http://a/?apikey=secret\"\n",
                    "upstream: \"http://b/x?apikey=***\", host: \"a\", referrer: "
                    "\"http://a/?apikey=***\"\n");
    assert_redacted("http header: \"ApiKey: secret\"\n", "http header: \"ApiKey: ***\"\n");
    assert_redacted("http proxy header:\nHost: a\r\nx-key:secret: 1\r\nB: c\r\n",
                    "http proxy header:\nHost: a\r\nx-key:***\r\nB: c\r\n");
    assert_redacted("invalid header line: \"x.key: secret\"",
                    "invalid header line: \"x.key: ***\"");
    assert_redacted("fastcgi param: \"HTTP_APIKEY: secret\"",
                    "fastcgi param: \"HTTP_APIKEY: ***\"");
}

static void lines_of_logs_without_a_key_stay(void **state)
{
    (void)state;
    assert_redacted("", "");
    assert_redacted("apikey", "apikey");
    assert_redacted("?apikey=&b=1", "?apikey=&b=1");
    assert_redacted("?xapikey=1&apikeys=2&a=apikey", "?xapikey=1&apikeys=2&a=apikey");
    assert_redacted("http header: \"apikey: \"", "http header: \"apikey: \"");
    assert_redacted("=:=", "=:=");
}

static void parameters_are_parted_by_all_names(void **state)
{
    struct gate_text args = text_of("a=1&apikey=k&&%61pikey&X_Key=2&b");
    char out[64];

    (void)state;
    assert_true(gate_args_may_have(args, names));
    assert_text((struct gate_text){out, gate_args_named(args, names, out)},
                "apikey=k&%61pikey&X_Key=2");
    assert_text((struct gate_text){out, gate_args_others(args, names, out)}, "a=1&&b");
    assert_int_equal(gate_args_find(args, listed[0], &args), GATE_VALUE_REPEATED);
}

static void assert_others(const char *args, const char *others)
{
    char out[64];

    assert_text((struct gate_text){out, gate_args_others(text_of(args), names, out)}, others);
    assert_int_equal(gate_args_may_have(text_of(args), names), strcmp(args, others) != 0);
}

static void what_an_upstream_may_take_for_a_key_goes_and_nothing_else(void **state)
{
    (void)state;
    assert_others("APIKEY=k&b=1", "b=1");
    assert_others("b=1;apikey=k;l&c", "b=1&c");
    assert_others("b=1;%61PIKEY=k", "b=1");
    assert_others(";apikey=k", "");
    assert_others("apikey=k;l&c=1", "c=1");
    assert_others("a=1;b=2;c&&d", "a=1;b=2;c&&d");
    assert_others("xapikey=1;a=apikey;apikeys", "xapikey=1;a=apikey;apikeys");
    assert_others("", "");
}

static void headers_are_compared_as_upstreams_fold_them(void **state)
{
    (void)state;
    assert_true(gate_header_says_who(text_of("x_consumer.ID")));
    assert_false(gate_header_says_who(text_of("X-Consumer-IDs")));
    assert_true(gate_header_is_key(text_of("x-KEY"), listed[1]));
    assert_false(gate_header_is_key(text_of("api-key"), listed[0]));
    assert_false(gate_header_is_key(text_of("X.key"), listed[1]));
    assert_true(gate_header_may_be_key(text_of("X.key"), listed[1]));
    assert_false(gate_header_may_be_key(text_of("X.keys"), listed[1]));
}

static void assert_escaped(const char *value, bool in_list, const char *expected)
{
    char out[GATE_ESCAPED_SIZE * 64];

    assert_int_equal(gate_value_is_plain(text_of(value), in_list), strcmp(value, expected) == 0);
    assert_text((struct gate_text){out, gate_value_escape(text_of(value), in_list, out)}, expected);
}

static void values_of_headers_are_escaped_where_they_would_be_read_as_something_else(void **state)
{
    (void)state;
    assert_escaped("Alice B", false, "Alice B");
    assert_escaped("caf\xc3\xa9 \xf0\x9f\x98\x80", false, "caf\xc3\xa9 \xf0\x9f\x98\x80");
    assert_escaped("", true, "");
    assert_escaped("a,b", false, "a,b");
    assert_escaped("a,b", true, "a%2Cb");
    assert_escaped("a\r\nb\x7f", false, "a%0D%0Ab%7F");
    assert_escaped(" a b ", false, "%20a b%20");
    assert_escaped(" ", true, "%20");
    assert_escaped("\xc2\xa0x", true, "%C2%A0x");
    assert_escaped("\xc2\x85\xe2\x80\xae", true, "%C2%85%E2%80%AE");
    assert_escaped("a\xff\xc3", true, "a%FF%C3");
    assert_escaped("\xc0\xaf\xed\xa0\x80", false, "%C0%AF%ED%A0%80");
}

static void one_group_stays_one_in_the_list(void **state)
{
    const struct gate_text groups[] = {text_of("x, gold"), text_of(""), text_of("silver"),
                                       text_of("\t")};
    char out[64];

    (void)state;
    assert_in_range(gate_groups_join(groups, 4, out), 1, gate_groups_size(groups, 4));
    assert_text((struct gate_text){out, gate_groups_join(groups, 4, out)},
                "x%2C gold, silver, %09");
    assert_int_equal(gate_groups_join(groups, 0, out), 0);
}

static void a_verdict_follows_from_a_lookup(void **state)
{
    (void)state;
    assert_int_equal(gate_verdict_of_lookup(RS_STALE, true, GATE_STALE_SERVE), GATE_STALE);
    assert_int_equal(gate_verdict_of_lookup(RS_STALE, false, GATE_STALE_SERVE), GATE_UNKNOWN);
    assert_int_equal(gate_verdict_of_lookup(RS_STALE, true, GATE_STALE_DENY), GATE_STALE_DENIED);
    assert_int_equal(gate_verdict_of_lookup(RS_E_CORRUPT, false, GATE_STALE_SERVE), GATE_ERROR);
    assert_int_equal(gate_verdict_of_answer(RS_E_IO, true), GATE_STALE_DENIED);
    assert_int_equal(gate_verdict_of_answer(RS_E_IO, false), GATE_UNKNOWN);
    assert_int_equal(gate_verdict_code(GATE_ERROR), 500);
    assert_false(gate_verdict_lets_in(GATE_UNDECIDED));
}

static enum gate_format preferred(const char *header)
{
    struct gate_accept accept = {0, GATE_FORMAT_JSON};

    gate_accept_weigh(&accept, text_of(header));
    return accept.format;
}

static void the_format_is_what_accept_prefers(void **state)
{
    (void)state;
    assert_int_equal(preferred(""), GATE_FORMAT_JSON);
    assert_int_equal(preferred("text/html;q=0.9, application/xml"), GATE_FORMAT_XML);
    assert_int_equal(preferred("text/html;q=0.123,text/plain;q=0.12"), GATE_FORMAT_HTML);
    assert_int_equal(preferred("text/html;q=0, text/*;q=0.001"), GATE_FORMAT_PLAIN);
    assert_int_equal(preferred("text/html;q=x.y;Q=0.1 , */*;q=0.5"), GATE_FORMAT_JSON);
    assert_int_equal(preferred("html, ;q=1, text/plain"), GATE_FORMAT_PLAIN);
}

static void a_name_in_a_refusal_cannot_leave_its_place(void **state)
{
    struct gate_refusal refusal = {
        .verdict = GATE_NO_ANONYMOUS, .anonymous = {"a\"<\n>&\\", 7}, .request_id = {"1", 1}};
    char out[512];

    (void)state;
    assert_text((struct gate_text){out, gate_refusal_body(&refusal, out)},
                "{\n  \"message\":\"anonymous consumer a\\\"<\\u000a>&\\\\ is configured but "
                "doesn't exist\",\n  \"request_id\":\"1\"\n}");
    refusal.format = GATE_FORMAT_XML;
    assert_int_equal(gate_refusal_body(&refusal, NULL), gate_refusal_body(&refusal, out));
    out[gate_refusal_body(&refusal, out)] = '\0';
    assert_non_null(strstr(out, "consumer a&quot;&lt;\n&gt;&amp;\\ is"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_logs_lose_every_value_of_a_key),
        cmocka_unit_test(lines_of_logs_without_a_key_stay),
        cmocka_unit_test(parameters_are_parted_by_all_names),
        cmocka_unit_test(what_an_upstream_may_take_for_a_key_goes_and_nothing_else),
        cmocka_unit_test(headers_are_compared_as_upstreams_fold_them),
        cmocka_unit_test(values_of_headers_are_escaped_where_they_would_be_read_as_something_else),
        cmocka_unit_test(one_group_stays_one_in_the_list),
        cmocka_unit_test(a_verdict_follows_from_a_lookup),
        cmocka_unit_test(the_format_is_what_accept_prefers),
        cmocka_unit_test(a_name_in_a_refusal_cannot_leave_its_place),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
