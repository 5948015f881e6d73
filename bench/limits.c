/* What the machine allows: receives from loopback, into a file or to nowhere.
 *
 *     limits discard|write|direct BYTES BUFFER [FILE]
 *
 * A child sends; the line of JSON tells what receiving cost: seconds, and CPU of the receiver alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static double now(void) {
    struct timeval moment;
    gettimeofday(&moment, NULL);
    return moment.tv_sec + moment.tv_usec / 1e6;
}

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 + usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6;
}

static void send_all(struct sockaddr_in address, long long size) {
    static char block[1 << 20];
    int out = socket(AF_INET, SOCK_STREAM, 0);
    memset(block, 'x', sizeof block);
    check(connect(out, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    while (size > 0) {
        ssize_t sent = send(out, block, size < (long long)sizeof block ? (size_t)size : sizeof block, 0);
        check(sent > 0, "send");
        size -= sent;
    }
    exit(0);
}

/* Fills the buffer as far as there are bytes to come, which O_DIRECT needs. */
static ssize_t receive(int in, char *buffer, size_t size, int whole) {
    return recv(in, buffer, size, whole ? MSG_WAITALL : 0);
}

int main(int count, char **words) {
    check(count >= 4, "usage: limits discard|write|direct BYTES BUFFER [FILE]");
    int is_direct = !strcmp(words[1], "direct"), writes = is_direct || !strcmp(words[1], "write");
    long long size = atoll(words[2]), left = size, offset = 0;
    size_t room = (size_t)atoll(words[3]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), file = -1;
    check(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0, "listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    if (writes) {
        file = open(words[4], O_WRONLY | O_CREAT | O_TRUNC | (is_direct ? O_DIRECT : 0), 0600);
        check(file >= 0, "open");
    }
    char *buffer = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fork() == 0)
        send_all(address, size);
    int in = accept(listener, NULL, NULL);
    double started = now(), before = cpu();
    while (left > 0) {
        ssize_t got = receive(in, buffer, room, is_direct);
        check(got > 0, "recv");
        if (writes)
            check(pwrite(file, buffer, got, offset) == got, "pwrite");
        offset += got;
        left -= got;
    }
    printf("{\"seconds\": %.6f, \"cpu\": %.6f, \"bytes\": %lld}\n", now() - started, cpu() - before, size);
    wait(NULL);
    return 0;
}
