/* fake_agent.c - what a gateway may meet at the agent's ask.sock, good and bad.
 *
 *   fake_agent SOCKET REPLY QUESTIONS
 *
 * Prints "listening" and serves until it is ended. The body of each question is written to the end
 * of the file QUESTIONS, a line each; then the bytes of the file REPLY are sent as they are, and
 * the connection is closed. A file REPLY.drip makes it a byte at a time; without a file REPLY
 * nothing is sent and the connection stays open.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { QUESTION_MAX = 128 * 1024, REPLY_MAX = 4 * 1024 * 1024, PATH_SIZE = 4096 };

static const char *reply_path;
static const char *questions_path;
static pthread_mutex_t questions_mutex = PTHREAD_MUTEX_INITIALIZER;

static void check(bool good)
{
    if (!good)
        abort();
}

/* The body of a complete question, or NULL. */
static const char *body_of(const char *question, size_t size)
{
    static const char length[] = "Content-Length: ";
    const char *end = strstr(question, "\r\n\r\n");
    const char *header = strstr(question, length);
    const char *body = end != NULL ? end + 4 : NULL;

    if (body == NULL || header == NULL || header > end)
        return NULL;
    return size - (size_t)(body - question) >= strtoul(header + strlen(length), NULL, 10) ? body
                                                                                          : NULL;
}

/* False: the gateway went away first. */
static bool receive(int fd, char *question)
{
    size_t size = 0;

    question[0] = '\0';
    while (body_of(question, size) == NULL) {
        ssize_t n = recv(fd, question + size, QUESTION_MAX - 1 - size, 0);

        if (n <= 0)
            return false;
        size += (size_t)n;
        question[size] = '\0';
    }
    return true;
}

static void note(const char *question)
{
    FILE *file;

    (void)pthread_mutex_lock(&questions_mutex);
    file = fopen(questions_path, "a");
    check(file != NULL);
    check(fprintf(file, "%s\n", body_of(question, SIZE_MAX / 2)) > 0);
    check(fclose(file) == 0);
    (void)pthread_mutex_unlock(&questions_mutex);
}

static size_t read_reply(char *reply)
{
    FILE *file = fopen(reply_path, "r");
    size_t size;

    if (file == NULL)
        return 0;
    size = fread(reply, 1, REPLY_MAX, file);
    check(fclose(file) == 0);
    return size;
}

static void send_reply(int fd, const char *reply, size_t size)
{
    char drip[PATH_SIZE];
    size_t step;

    (void)snprintf(drip, sizeof(drip), "%s.drip", reply_path);
    step = access(drip, F_OK) == 0 ? 1 : size;
    for (size_t sent = 0; sent < size; sent += step) {
        if (send(fd, reply + sent, step, MSG_NOSIGNAL) < 0)
            return;
    }
}

/* Until the gateway has closed. */
static void wait_for_end(int fd)
{
    char byte;

    while (recv(fd, &byte, 1, 0) > 0) {
    }
}

static void *serve(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char *question = malloc(QUESTION_MAX);
    char *reply = malloc(REPLY_MAX);

    check(question != NULL && reply != NULL);
    if (receive(fd, question)) {
        note(question);
        if (access(reply_path, F_OK) == 0)
            send_reply(fd, reply, read_reply(reply));
        else
            wait_for_end(fd);
    }
    free(question);
    free(reply);
    check(close(fd) == 0);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (argc != 4 || strlen(argv[1]) >= sizeof(address.sun_path)) {
        (void)fprintf(stderr, "usage: fake_agent SOCKET REPLY QUESTIONS\n");
        return 2;
    }
    reply_path = argv[2];
    questions_path = argv[3];
    (void)unlink(argv[1]);
    memcpy(address.sun_path, argv[1], strlen(argv[1]) + 1);
    check(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 &&
          listen(listener, 64) == 0);
    printf("listening\n");
    (void)fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;

        check(fd >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0 &&
              pthread_detach(thread) == 0);
    }
}
