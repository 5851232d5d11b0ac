/* The load generator: HTTP/1.1 over loopback, one thread, epoll. Linux.
 *
 *   load PORT REQUEST-FILE CONNECTIONS SECONDS RATE AT-MOST RAMP MARKS
 *
 * REQUEST-FILE holds the bytes of one whole request, which is sent again and again.
 *   RATE 0    closed loop: each connection sends its next request when it has its answer
 *   RATE r    open loop: r requests a second in all, each timed from the moment it was due, whether or not a connection was free
 *   AT-MOST   stop after so many requests (0: none but SECONDS stops it)
 *   RAMP      seconds over which the connections begin, one after the other
 *   MARKS     how many '~' a right answer holds in its body: that is how a lost event or a cut answer is noticed
 *
 * A mark may be followed by digits: the CLOCK_MONOTONIC time in nanoseconds at which the upstream wrote it. The difference
 * to now is the delay of that event.
 *
 * Prints one JSON object; `fallback/load.py` is the same program in Python, and `generator.py` reads either.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define PATIENCE (10 * SECOND) /* after the end, for answers under way */
#define GIVE_UP 200            /* so many failed connections and it is no use */
#define HEAD_MOST 16384

/* ---------------------------------------------------------------- histograms, as in stats.py */

#define BUCKETS 4096
typedef struct {
    uint64_t count[BUCKETS];
} histogram;

static unsigned bucket_of(uint64_t ns) {
    unsigned bits = ns ? 64 - (unsigned)__builtin_clzll(ns) : 0;
    unsigned shift = bits > 7 ? bits - 7 : 0;
    return shift * 64 + (unsigned)(ns >> shift);
}

static void note(histogram *h, uint64_t ns) { h->count[bucket_of(ns)]++; }

static void print_histogram(const char *name, const histogram *h) {
    bool first = true;
    printf(",\"%s\":[", name);
    for (unsigned i = 0; i < BUCKETS; i++)
        if (h->count[i]) {
            printf("%s[%u,%llu]", first ? "" : ",", i, (unsigned long long)h->count[i]);
            first = false;
        }
    printf("]");
}

/* ---------------------------------------------------------------- state */

enum stage { HEAD, COUNTED, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, UNTIL_CLOSE };

typedef struct {
    int fd;
    bool open, busy, writable_wanted, last_answer, body_seen, in_stamp;
    uint64_t due;     /* when its request was sent, or should have been */
    size_t sent;      /* bytes of the request */
    enum stage stage;
    char head[HEAD_MOST];
    size_t head_size;
    uint64_t left;    /* bytes of the body, or of the chunk */
    int status;
    unsigned marks;
    uint64_t stamp;
} connection;

static struct {
    struct sockaddr_in to;
    char *request;
    size_t size;
    int connections, poll;
    uint64_t begin, end, ramp;
    double rate;
    uint64_t at_most;
    unsigned marks;
} plan;

static struct {
    uint64_t sent, answered, refused, wrong, broken, marks;
    histogram latency, first_byte, delay;
    char complaint[200];
} seen;

static int active; /* requests under way */

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void complain(const char *what, int number) {
    if (!seen.complaint[0]) snprintf(seen.complaint, sizeof seen.complaint, "%s %d", what, number);
}

static bool may_send(void) { return now() < plan.end && (!plan.at_most || seen.sent < plan.at_most) && seen.broken < GIVE_UP; }

/* ---------------------------------------------------------------- sending */

static void watch(connection *c, bool writable, int how) {
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(plan.poll, how, c->fd, &event);
    c->writable_wanted = writable;
}

static void hang_up(connection *c) {
    if (c->open) close(c->fd);
    c->open = false;
}

static void fail(connection *c, const char *what, int number) {
    complain(what, number);
    seen.broken++;
    if (c->busy) active--;
    c->busy = false;
    hang_up(c);
}

static void push(connection *c) {
    while (c->sent < plan.size) {
        ssize_t n = send(c->fd, plan.request + c->sent, plan.size - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) {
                if (!c->writable_wanted) watch(c, true, EPOLL_CTL_MOD);
            } else {
                fail(c, "sending failed: error", errno);
            }
            return;
        }
        c->sent += (size_t)n;
    }
    if (c->writable_wanted) watch(c, false, EPOLL_CTL_MOD);
}

static void begin(connection *c, uint64_t due) {
    active++;
    seen.sent++;
    c->busy = true;
    c->due = due;
    c->sent = 0;
    c->stage = HEAD;
    c->head_size = 0;
    c->marks = 0;
    c->body_seen = c->in_stamp = c->last_answer = false;
    if (!c->open) {
        int one = 1;
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(c->fd, (struct sockaddr *)&plan.to, sizeof plan.to)) {
            close(c->fd);
            fail(c, "connecting failed: error", errno);
            return;
        }
        c->open = true;
        watch(c, false, EPOLL_CTL_ADD);
    }
    push(c);
}

/* ---------------------------------------------------------------- reading */

static void finish(connection *c, uint64_t at) {
    active--;
    c->busy = false;
    if (c->status != 200) {
        seen.refused++;
        complain("answered with status", c->status);
    } else if (c->marks != plan.marks) {
        seen.wrong++;
        complain("marks in an answer:", (int)c->marks);
    } else {
        seen.answered++;
        note(&seen.latency, at - c->due);
    }
    if (c->last_answer) hang_up(c);
    if (plan.rate == 0 && may_send()) begin(c, now());
}

static void end_of_stamp(connection *c, uint64_t at) {
    if (c->stamp && c->stamp < at) note(&seen.delay, at - c->stamp);
    c->in_stamp = false;
}

static void look_for_marks(connection *c, const char *p, size_t n, uint64_t at) {
    const char *end = p + n;
    if (n && !c->body_seen) {
        c->body_seen = true;
        if (c->status == 200) note(&seen.first_byte, at - c->due);
    }
    while (p < end) {
        if (!c->in_stamp) {
            p = memchr(p, '~', (size_t)(end - p));
            if (!p) return;
            p++;
            c->marks++;
            seen.marks++;
            c->in_stamp = true;
            c->stamp = 0;
        }
        while (p < end && *p >= '0' && *p <= '9') c->stamp = c->stamp * 10 + (uint64_t)(*p++ - '0');
        if (p < end) end_of_stamp(c, at);
    }
}

/* Takes in the head; false while it is not whole. Advances past what belongs to it. */
static bool read_head(connection *c, const char **p, const char *end) {
    size_t before = c->head_size, room = HEAD_MOST - 1 - before, n = (size_t)(end - *p) < room ? (size_t)(end - *p) : room;
    memcpy(c->head + before, *p, n);
    c->head_size += n;
    c->head[c->head_size] = 0;
    char *blank = memmem(c->head, c->head_size, "\r\n\r\n", 4);
    if (!blank) {
        if (n == room) fail(c, "the head of an answer is larger than", HEAD_MOST);
        *p = end;
        return false;
    }
    *p += (size_t)(blank + 4 - c->head) - before;
    c->head_size = 0;
    c->status = atoi(c->head + 9);
    if (c->status < 200) return false;
    c->stage = UNTIL_CLOSE;
    for (char *line = c->head; line < blank; line = strstr(line, "\r\n") + 2) {
        if (!strncasecmp(line, "content-length:", 15) && c->stage != CHUNK_SIZE) {
            c->left = strtoull(line + 15, NULL, 10);
            c->stage = COUNTED;
        } else if (!strncasecmp(line, "transfer-encoding: chunked", 26)) {
            c->left = 0;
            c->stage = CHUNK_SIZE;
        } else if (!strncasecmp(line, "connection: close", 17)) {
            c->last_answer = true;
        }
    }
    return true;
}

static void feed(connection *c, const char *p, size_t size, uint64_t at) {
    const char *end = p + size;
    while (p < end && c->busy) {
        size_t have = (size_t)(end - p), n = have < c->left ? have : (size_t)c->left;
        switch (c->stage) {
            case HEAD:
                if (read_head(c, &p, end) && c->stage == COUNTED && !c->left) finish(c, at);
                break;
            case COUNTED:
            case CHUNK:
                look_for_marks(c, p, n, at);
                p += n;
                c->left -= n;
                if (!c->left && c->stage == COUNTED) {
                    finish(c, at);
                    return; /* what follows would be an answer to nothing */
                }
                if (!c->left) c->stage = CHUNK_END;
                break;
            case CHUNK_SIZE: {
                char digit = *p++;
                if (digit == '\n')
                    c->stage = c->left ? CHUNK : TRAILER;
                else if (digit != '\r')
                    c->left = c->left * 16 + (uint64_t)(digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
                break;
            }
            case CHUNK_END:
                if (*p++ == '\n') c->stage = CHUNK_SIZE;
                break;
            case TRAILER: /* none of the gateways sends trailers */
                if (*p++ == '\n') {
                    finish(c, at);
                    return;
                }
                break;
            case UNTIL_CLOSE:
                look_for_marks(c, p, have, at);
                p = end;
                break;
        }
    }
}

static void readable(connection *c) {
    static char buffer[1 << 18];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
        if (c->busy)
            feed(c, buffer, (size_t)n, now());
        else
            hang_up(c); /* bytes after the end of an answer */
    } else if (n == 0 || errno != EAGAIN) {
        if (c->busy && n == 0 && c->stage == UNTIL_CLOSE) {
            c->last_answer = true;
            finish(c, now());
        } else if (c->busy) {
            fail(c, "an answer broke off: error", n ? errno : 0);
        } else {
            hang_up(c);
        }
        if (!c->busy && plan.rate == 0 && may_send()) begin(c, now());
    }
}

/* ---------------------------------------------------------------- the loop */

static void arm(int timer, uint64_t at) {
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at / SECOND), .tv_nsec = (long)(at % SECOND)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Sends what is due. Returns the time at which there is more to do. */
static uint64_t send_due(connection *all, uint64_t *scheduled, int *ramped) {
    if (!may_send()) return plan.end + PATIENCE;
    if (plan.rate == 0) {
        while (*ramped < plan.connections) {
            uint64_t at = plan.begin + plan.ramp * (uint64_t)*ramped / (uint64_t)plan.connections;
            if (at > now()) return at;
            if (!may_send()) break;
            begin(&all[(*ramped)++], now());
        }
        return plan.end;
    }
    for (;;) {
        uint64_t due = plan.begin + (uint64_t)((double)*scheduled * SECOND / plan.rate);
        if (due > now()) return due < plan.end ? due : plan.end;
        connection *free = NULL;
        for (int i = 0; i < plan.connections && !free; i++) {
            connection *c = &all[(*scheduled + (uint64_t)i) % (uint64_t)plan.connections];
            if (!c->busy) free = c;
        }
        if (!free || !may_send()) return plan.end; /* all are busy: an answer will wake us */
        begin(free, due);
        ++*scheduled;
    }
}

static void run(void) {
    connection *all = calloc((size_t)plan.connections, sizeof *all);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), ramped = 0;
    uint64_t scheduled = 0, expired;
    struct epoll_event events[256], tick = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(plan.poll, EPOLL_CTL_ADD, timer, &tick);
    for (;;) {
        uint64_t next = send_due(all, &scheduled, &ramped);
        if (!may_send() && (!active || now() > plan.end + PATIENCE)) break;
        arm(timer, next);
        int n = epoll_wait(plan.poll, events, 256, 1000);
        for (int i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            if (!c) {
                if (read(timer, &expired, sizeof expired) < 0) continue;
            } else {
                if (c->open && (events[i].events & EPOLLOUT)) push(c);
                if (c->open && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) readable(c);
            }
        }
    }
}

static void read_request(const char *path) {
    struct stat about;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &about)) {
        perror(path);
        exit(1);
    }
    plan.size = (size_t)about.st_size;
    plan.request = malloc(plan.size);
    if (fread(plan.request, 1, plan.size, file) != plan.size) exit(1);
    fclose(file);
}

int main(int count, char **arguments) {
    if (count != 9) {
        fprintf(stderr, "usage: load PORT REQUEST-FILE CONNECTIONS SECONDS RATE AT-MOST RAMP MARKS\n");
        return 1;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1000UL);
    plan.to = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    read_request(arguments[2]);
    plan.connections = atoi(arguments[3]);
    plan.rate = atof(arguments[5]);
    plan.at_most = strtoull(arguments[6], NULL, 10);
    plan.ramp = (uint64_t)(atof(arguments[7]) * SECOND);
    plan.marks = (unsigned)atoi(arguments[8]);
    plan.poll = epoll_create1(0);
    plan.begin = now();
    plan.end = plan.begin + (uint64_t)(atof(arguments[4]) * SECOND);
    run();

    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"sent\":%llu,\"answered\":%llu,\"refused\":%llu,\"wrong\":%llu,\"broken\":%llu,\"unfinished\":%d,\"marks\":%llu,"
           "\"seconds\":%.4f,\"cpu\":%.4f,\"complaint\":\"%s\"",
           (unsigned long long)seen.sent, (unsigned long long)seen.answered, (unsigned long long)seen.refused,
           (unsigned long long)seen.wrong, (unsigned long long)seen.broken, active, (unsigned long long)seen.marks,
           (double)(now() - plan.begin) / SECOND, cpu, seen.complaint);
    print_histogram("latency", &seen.latency);
    print_histogram("first_byte", &seen.first_byte);
    print_histogram("delay", &seen.delay);
    printf("}\n");
    return 0;
}
