/* refusal.c - saying no in the client's language, word for word as Kong does. */
#include "gateway/core/refusal.h"

/* ---- the client's language ---- */

static const struct {
    struct gate_text content_type;
    /* Around the message and the request's id. */
    const char *before;
    const char *between;
    const char *after;
} formats[GATE_FORMATS] = {
    [GATE_FORMAT_JSON] = {{"application/json; charset=utf-8", 31},
                          "{\n  \"message\":\"",
                          "\",\n  \"request_id\":\"",
                          "\"\n}"},
    [GATE_FORMAT_HTML] = {{"text/html; charset=utf-8", 24},
                          "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n"
                          "    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n"
                          "    <p>",
                          ".</p>\n    <p>request_id: ",
                          "</p>\n  </body>\n</html>\n"},
    [GATE_FORMAT_XML] = {{"application/xml; charset=utf-8", 30},
                         "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>",
                         "</message>\n  <requestid>",
                         "</requestid>\n</error>\n"},
    [GATE_FORMAT_PLAIN] = {{"text/plain; charset=utf-8", 25}, "", "\nrequest_id: ", "\n"},
    [GATE_FORMAT_GRPC] = {{"application/grpc", 16}, "", "", ""},
};

struct gate_text gate_content_type(enum gate_format format)
{
    return formats[format].content_type;
}

/* One media range of Accept, without parameters, and its quality in thousandths. */
struct media_range {
    struct gate_text type;
    unsigned quality;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void refusal_trim(struct gate_text *text)
{
    while (text->size > 0 && is_blank(text->data[0])) {
        text->data++;
        text->size--;
    }
    while (text->size > 0 && is_blank(text->data[text->size - 1]))
        text->size--;
}

/* Takes the text before the first `separator` off the front of *rest; false at the end. */
static bool next_part(struct gate_text *rest, char separator, struct gate_text *ret)
{
    const char *end;

    if (rest->size == 0)
        return false;
    end = memchr(rest->data, separator, rest->size);
    ret->data = rest->data;
    ret->size = end != NULL ? (size_t)(end - rest->data) : rest->size;
    rest->data += ret->size + (end != NULL);
    rest->size -= ret->size + (end != NULL);
    refusal_trim(ret);
    return true;
}

/* "1", "0.5", "0.123" in thousandths; what is no quality counts as 1. */
static unsigned read_quality(struct gate_text text)
{
    enum { ONE = 1000, DECIMALS = 3 };
    unsigned value = 0;
    size_t decimals = 0;
    bool point = false;

    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (text.data[i] < '0' || text.data[i] > '9' || decimals == DECIMALS || value > ONE)
            return ONE;
        value = value * 10 + (unsigned)(text.data[i] - '0');
        decimals += point;
    }
    for (; decimals < DECIMALS; decimals++)
        value *= 10;
    return text.size > 0 && value <= ONE ? value : ONE;
}

static struct media_range read_media_range(struct gate_text range)
{
    struct media_range ret = {{range.data, 0}, 1000};
    struct gate_text parameter;

    (void)next_part(&range, ';', &ret.type);
    while (next_part(&range, ';', &parameter)) {
        struct gate_text name;

        if (next_part(&parameter, '=', &name) && gate_text_is_nocase(name, GATE_TEXT("q"))) {
            refusal_trim(&parameter);
            ret.quality = read_quality(parameter);
        }
    }
    return ret;
}

static enum gate_format format_of(struct gate_text type)
{
    static const struct {
        struct gate_text type;
        enum gate_format format;
    } known[] = {
        {{"text/html", 9}, GATE_FORMAT_HTML},
        {{"application/xml", 15}, GATE_FORMAT_XML},
        {{"text/plain", 10}, GATE_FORMAT_PLAIN},
        {{"text/*", 6}, GATE_FORMAT_PLAIN},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (gate_text_is_nocase(type, known[i].type))
            return known[i].format;
    }
    return GATE_FORMAT_JSON;
}

void gate_accept_weigh(struct gate_accept *accept, struct gate_text header)
{
    struct gate_text part;

    while (next_part(&header, ',', &part)) {
        struct media_range range = read_media_range(part);

        if (range.type.size > 0 && memchr(range.type.data, '/', range.type.size) != NULL &&
            range.quality > accept->quality) {
            accept->quality = range.quality;
            accept->format = format_of(range.type);
        }
    }
}

/* ---- what to say ---- */

static const char before_name[] = "anonymous consumer ";
static const char after_name[] = " is configured but doesn't exist";

static const char *message_of(enum gate_verdict verdict)
{
    switch (verdict) {
    case GATE_MISSING:
        return "No API key found in request";
    case GATE_DUPLICATE:
        return "Duplicate API key found";
    case GATE_UNKNOWN:
    case GATE_STALE_DENIED:
        return "Unauthorized";
    case GATE_FORBIDDEN:
        return "You cannot consume this service";
    default:
        return "An unexpected error occurred";
    }
}

struct gate_grpc gate_grpc_of(enum gate_verdict verdict)
{
    switch (gate_verdict_code(verdict)) {
    case 401:
        return (struct gate_grpc){GATE_TEXT("16"), GATE_TEXT("Unauthenticated")};
    case 403:
        return (struct gate_grpc){GATE_TEXT("7"), GATE_TEXT("PermissionDenied")};
    default:
        return (struct gate_grpc){GATE_TEXT("13"), GATE_TEXT("Internal")};
    }
}

/* ---- writing ---- */

/* Counts always, writes when there is a place. */
struct writer {
    char *out;
    size_t size;
};

static void refusal_put(struct writer *writer, const char *text, size_t size)
{
    if (writer->out != NULL && size > 0)
        memcpy(writer->out + writer->size, text, size);
    writer->size += size;
}

static void refusal_put_string(struct writer *writer, const char *text)
{
    refusal_put(writer, text, strlen(text));
}

static void put_json_character(struct writer *writer, char c)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char byte = (unsigned char)c;
    const char escape[] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 0xf]};

    if (byte < 0x20)
        refusal_put(writer, escape, sizeof(escape));
    else if (c == '"' || c == '\\')
        refusal_put(writer, (const char[]){'\\', c}, 2);
    else
        refusal_put(writer, &c, 1);
}

static void put_markup_character(struct writer *writer, char c)
{
    switch (c) {
    case '<':
        refusal_put_string(writer, "&lt;");
        break;
    case '>':
        refusal_put_string(writer, "&gt;");
        break;
    case '&':
        refusal_put_string(writer, "&amp;");
        break;
    case '"':
        refusal_put_string(writer, "&quot;");
        break;
    default:
        refusal_put(writer, &c, 1);
    }
}

/* A name out of the configuration, as it may stand in the format. */
static void put_name(struct writer *writer, enum gate_format format, struct gate_text name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (format == GATE_FORMAT_JSON)
            put_json_character(writer, name.data[i]);
        else if (format == GATE_FORMAT_PLAIN)
            refusal_put(writer, &name.data[i], 1);
        else
            put_markup_character(writer, name.data[i]);
    }
}

size_t gate_refusal_body(const struct gate_refusal *refusal, char *out)
{
    struct writer writer = {out, 0};

    refusal_put_string(&writer, formats[refusal->format].before);
    if (refusal->verdict == GATE_NO_ANONYMOUS) {
        refusal_put_string(&writer, before_name);
        put_name(&writer, refusal->format, refusal->anonymous);
        refusal_put_string(&writer, after_name);
    } else {
        refusal_put_string(&writer, message_of(refusal->verdict));
    }
    refusal_put_string(&writer, formats[refusal->format].between);
    refusal_put(&writer, refusal->request_id.data, refusal->request_id.size);
    refusal_put_string(&writer, formats[refusal->format].after);
    return writer.size;
}
