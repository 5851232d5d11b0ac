/* The upstream: answers every request with the same bytes, as fast as it can. HTTP/1.1 over loopback, one thread, epoll. Linux.
 *
 *   upstream PORT FOLDER SECONDS
 *
 * FOLDER holds what it says, as it goes over the wire (made by `exchanges.py`):
 *   whole.http   an answer in one piece
 *   begin.http   the head of a streamed answer, and its first chunk
 *   event.http   one event in one chunk, with '~' and 19 zeros, where the time of sending is put
 *   end.http     the last chunks
 * A request whose body holds "stream":true gets the stream, and so does one whose path holds "stream", as in Gemini and Converse. `events=N` anywhere in the body says how many events, `pace=MS`
 * how many milliseconds apart; without a pace the whole stream is written at once. It ends by itself after SECONDS.
 *
 * `fallback/upstream.py` is the same program in Python.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define STAMP 19 /* digits */

typedef struct {
    char *at;
    size_t size, room;
} bytes;

typedef struct connection {
    int fd;
    bool streaming, writable_wanted;
    bytes in, out;
    size_t out_sent;
    unsigned left;      /* events still to be sent */
    uint64_t pace, due; /* nanoseconds */
    TAILQ_ENTRY(connection) queue;
} connection;

static bytes whole, opening, event, ending;
static size_t stamp_at;
static int poller, timer;

/* Streams that wait for their next event, the soonest first. All streams of one measurement have the same pace, so
   that whoever is put at the end is also the last that is due. */
static TAILQ_HEAD(, connection) waiting = TAILQ_HEAD_INITIALIZER(waiting);

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void reserve(bytes *b, size_t more) {
    if (b->size + more > b->room) {
        b->room = (b->size + more) * 2;
        b->at = realloc(b->at, b->room);
    }
}

static void append(bytes *b, const char *from, size_t size) {
    reserve(b, size);
    memcpy(b->at + b->size, from, size);
    b->size += size;
}

static void watch(connection *c, bool writable, int how) {
    struct epoll_event wanted = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, how, c->fd, &wanted);
    c->writable_wanted = writable;
}

static void hang_up(connection *c) {
    if (c->streaming) TAILQ_REMOVE(&waiting, c, queue);
    close(c->fd);
    free(c->in.at);
    free(c->out.at);
    free(c);
}

/* False when the connection is gone. */
static bool flush(connection *c) {
    while (c->out_sent < c->out.size) {
        ssize_t n = send(c->fd, c->out.at + c->out_sent, c->out.size - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) {
                if (!c->writable_wanted) watch(c, true, EPOLL_CTL_MOD);
                return true;
            }
            hang_up(c);
            return false;
        }
        c->out_sent += (size_t)n;
    }
    c->out.size = c->out_sent = 0;
    if (c->writable_wanted) watch(c, false, EPOLL_CTL_MOD);
    return true;
}

static void add_event(connection *c, bool stamped) {
    append(&c->out, event.at, event.size);
    if (stamped) {
        char digits[STAMP + 1];
        snprintf(digits, sizeof digits, "%0*llu", STAMP, (unsigned long long)now());
        memcpy(c->out.at + c->out.size - event.size + stamp_at, digits, STAMP);
    }
}

static unsigned number_after(const char *body, size_t size, const char *name, unsigned otherwise) {
    const char *found = memmem(body, size, name, strlen(name));
    return found ? (unsigned)strtoul(found + strlen(name), NULL, 10) : otherwise;
}

static void answer(connection *c, const char *request, const char *body, size_t size) {
    const char *line_end = memchr(request, '\r', (size_t)(body - request));
    if (!memmem(body, size, "\"stream\":true", 13) && !memmem(body, size, "\"stream\": true", 14) &&
        !memmem(request, (size_t)(line_end - request), "stream", 6)) {
        append(&c->out, whole.at, whole.size);
        return;
    }
    unsigned events = number_after(body, size, "events=", 100);
    c->pace = number_after(body, size, "pace=", 0) * (SECOND / 1000);
    append(&c->out, opening.at, opening.size);
    if (c->pace) {
        c->left = events;
        c->due = now() + c->pace;
        c->streaming = true;
        TAILQ_INSERT_TAIL(&waiting, c, queue);
    } else {
        while (events--) add_event(c, false);
        append(&c->out, ending.at, ending.size);
    }
}

/* Answers the requests that have come whole. False when the connection is gone. */
static bool process(connection *c) {
    size_t done = 0;
    while (done < c->in.size && !c->streaming) {
        char *request = c->in.at + done, *blank = memmem(request, c->in.size - done, "\r\n\r\n", 4);
        if (!blank) break;
        size_t head = (size_t)(blank + 4 - request), length = 0;
        for (char *line = request; line < blank; line = (char *)memmem(line, (size_t)(blank + 2 - line), "\r\n", 2) + 2) {
            if (!strncasecmp(line, "content-length:", 15)) length = strtoul(line + 15, NULL, 10);
            if (!strncasecmp(line, "transfer-encoding:", 18)) {
                static const char refusal[] = "HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n";
                append(&c->out, refusal, sizeof refusal - 1);
            }
        }
        if (c->in.size - done < head + length) break;
        answer(c, request, request + head, length);
        done += head + length;
    }
    memmove(c->in.at, c->in.at + done, c->in.size - done);
    c->in.size -= done;
    return flush(c);
}

static void readable(connection *c) {
    for (;;) {
        reserve(&c->in, 65536);
        size_t room = c->in.room - c->in.size;
        ssize_t n = recv(c->fd, c->in.at + c->in.size, room, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            hang_up(c);
            return;
        }
        if (n < 0) break;
        c->in.size += (size_t)n;
        if ((size_t)n < room) break;
    }
    process(c);
}

static void send_due(void) {
    connection *c;
    while ((c = TAILQ_FIRST(&waiting)) && c->due <= now()) {
        TAILQ_REMOVE(&waiting, c, queue);
        if (c->left) {
            c->left--;
            c->due += c->pace;
            add_event(c, true);
            TAILQ_INSERT_TAIL(&waiting, c, queue);
            flush(c);
        } else {
            c->streaming = false;
            append(&c->out, ending.at, ending.size);
            process(c);
        }
    }
    static uint64_t armed;
    uint64_t next = c ? c->due : 0;
    if (next == armed) return;
    armed = next;
    struct itimerspec when = {0};
    if (c) when.it_value = (struct timespec){.tv_sec = (time_t)(c->due / SECOND), .tv_nsec = (long)(c->due % SECOND)};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(c, false, EPOLL_CTL_ADD);
    }
}

static bytes read_file(const char *folder, const char *name) {
    char path[4096];
    bytes b = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(1);
    }
    for (;;) {
        reserve(&b, 65536);
        size_t n = fread(b.at + b.size, 1, 65536, file);
        if (!n) break;
        b.size += n;
    }
    fclose(file);
    return b;
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("upstream");
        exit(1);
    }
    return listener;
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: upstream PORT FOLDER SECONDS\n");
        return 1;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1000UL);
    alarm((unsigned)atoi(arguments[3]));
    whole = read_file(arguments[2], "whole.http");
    opening = read_file(arguments[2], "begin.http");
    event = read_file(arguments[2], "event.http");
    ending = read_file(arguments[2], "end.http");
    stamp_at = (size_t)((char *)memchr(event.at, '~', event.size) - event.at) + 1;

    int listener = listen_on(atoi(arguments[1]));
    poller = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event events[256], on_listener = {.events = EPOLLIN, .data.ptr = &listener},
                                    on_timer = {.events = EPOLLIN, .data.ptr = &timer};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &on_listener);
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &on_timer);
    for (;;) {
        uint64_t expired;
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &listener) {
                accept_all(listener);
            } else if (events[i].data.ptr == &timer) {
                if (read(timer, &expired, sizeof expired) < 0) continue;
            } else {
                connection *c = events[i].data.ptr;
                if ((events[i].events & EPOLLOUT) && !flush(c)) continue;
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
            }
        }
        send_due();
    }
}
