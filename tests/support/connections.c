/* Preloaded into a process: appends a line to the file named by CONNECTIONS_LOG for each address
 * that the process connects or sends to, and for each name that it resolves. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *line, int length)
{
    const char *path = getenv("CONNECTIONS_LOG");
    int file = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file >= 0) {
        if (write(file, line, (size_t)length) != length) {
            abort();
        }
        close(file);
    }
}

static void note_address(const struct sockaddr *address)
{
    char host[INET6_ADDRSTRLEN] = "", line[128];
    int port = 0;
    if (address == NULL) {
        return;
    }
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        port = ntohs(v4->sin_port);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        port = ntohs(v6->sin6_port);
    } else {
        return; /* a socket of this machine, such as the system's log */
    }
    note(line, snprintf(line, sizeof line, "address %s %d\n", host, port));
}

int connect(int socket, const struct sockaddr *address, socklen_t size)
{
    int (*real)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    note_address(address);
    return real(socket, address, size);
}

ssize_t sendto(int socket, const void *data, size_t count, int flags,
               const struct sockaddr *address, socklen_t size)
{
    ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) =
        (ssize_t (*)(int, const void *, size_t, int, const struct sockaddr *, socklen_t))dlsym(
            RTLD_NEXT, "sendto");
    note_address(address);
    return real(socket, data, count, flags, address, size);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags)
{
    ssize_t (*real)(int, const struct msghdr *, int) =
        (ssize_t (*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
    note_address(message->msg_name);
    return real(socket, message, flags);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    char line[320];
    if (node != NULL) { /* NULL is this machine */
        note(line, snprintf(line, sizeof line, "name %.250s\n", node));
    }
    return real(node, service, hints, found);
}
