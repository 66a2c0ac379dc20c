#include "tests/lib/rest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <curl/curl.h>

#include "base/buffer.h"

enum { ANSWER_MAX_BYTES = 64 * 1024 * 1024, CALL_TIMEOUT_S = 60, URL_MAX_BYTES = 2048 };

struct rest_client {
    CURL *curl;
    struct curl_slist *headers;
    char *url;
    struct buffer answer;
    bool used;   /* has had a connection */
    bool resent; /* the last call may have been */
};

static void *must(void *pointer)
{
    if (pointer == NULL) {
        (void)fprintf(stderr, "rest client: out of memory\n");
        exit(2);
    }
    return pointer;
}

static size_t take_answer(char *bytes, size_t size, size_t count, void *context)
{
    struct rest_client *client = context;

    return buffer_append(&client->answer, bytes, size * count) == 0 ? size * count : 0;
}

struct rest_client *rest_create(const char *url, const char *token)
{
    struct rest_client *client = must(calloc(1, sizeof(*client)));
    char header[1024];

    client->url = must(strdup(url));
    client->curl = must(curl_easy_init());
    buffer_init(&client->answer, ANSWER_MAX_BYTES);
    (void)snprintf(header, sizeof(header), "Authorization: Bearer %s", token);
    client->headers = must(curl_slist_append(NULL, header));
    client->headers = must(curl_slist_append(client->headers, "Content-Type: application/json"));
    return client;
}

void rest_destroy(struct rest_client *client)
{
    curl_slist_free_all(client->headers);
    curl_easy_cleanup(client->curl);
    buffer_finish(&client->answer);
    free(client->url);
    free(client);
}

long rest_call(struct rest_client *client, const char *method, const char *path, json_t *body,
               json_t **ret)
{
    char *text = body != NULL ? must(json_dumps(body, JSON_COMPACT)) : NULL;
    char url[URL_MAX_BYTES];
    long status = REST_NO_ANSWER;
    long connects = 0;

    json_decref(body);
    buffer_clear(&client->answer);
    (void)snprintf(url, sizeof(url), "%s%s", client->url, path);
    curl_easy_reset(client->curl);
    curl_easy_setopt(client->curl, CURLOPT_URL, url);
    curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, client->headers);
    curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, client);
    curl_easy_setopt(client->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT, (long)CALL_TIMEOUT_S);
    if (text != NULL)
        curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, text);
    if (curl_easy_perform(client->curl) == CURLE_OK)
        curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(client->curl, CURLINFO_NUM_CONNECTS, &connects);
    client->resent = client->used && connects > 0;
    client->used = true;
    free(text);
    if (ret != NULL)
        *ret = status != REST_NO_ANSWER
                   ? json_loadb((const char *)client->answer.data, client->answer.size, 0, NULL)
                   : NULL;
    return status;
}

bool rest_may_be_resent(const struct rest_client *client)
{
    return client->resent;
}
