/* A nested epoll and its watches. */
#include "async/poller.h"

#include <errno.h>
#include <unistd.h>

#include "async/internal.h"

int poller_init(struct poller *p)
{
	*p = (struct poller){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	return p->epoll_fd < 0 ? -errno : 0;
}

void poller_dispatch(struct poller *p)
{
	p->batch_count = epoll_wait(p->epoll_fd, p->batch, POLLER_BATCH, 0);
	for (p->batch_at = 0; p->batch_at < p->batch_count; p->batch_at++) {
		struct watch *w = p->batch[p->batch_at].data.ptr;
		if (w)
			w->ready(w, p->batch[p->batch_at].events);
	}
	p->batch_count = 0;
}

void watch_init(struct watch *w, void (*ready)(struct watch *w, uint32_t events))
{
	*w = (struct watch){.fd = -1, .ready = ready};
}

int watch_set(struct watch *w, struct poller *p, int fd, uint32_t events)
{
	if (w->poller && w->fd == fd && w->events == events && !(events & EPOLLONESHOT))
		return 0;
	if (w->poller && w->fd != fd)
		watch_clear(w);
	struct epoll_event ev = {.events = events, .data.ptr = w};
	if (epoll_ctl(p->epoll_fd, w->poller ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) < 0) {
		/* Its library closed the descriptor and opened another one under the same number. */
		if (errno != ENOENT || epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
			return -errno;
	}
	w->poller = p;
	w->fd = fd;
	w->events = events;
	return 0;
}

/* Events of this turn that were not called back yet must not find w any more. */
static void drop_from_batch(struct poller *p, struct watch *w)
{
	for (int i = p->batch_at; i < p->batch_count; i++) {
		if (p->batch[i].data.ptr == w)
			p->batch[i].data.ptr = NULL;
	}
}

void watch_forget(struct watch *w)
{
	if (!w->poller)
		return;
	drop_from_batch(w->poller, w);
	w->poller = NULL;
	w->fd = -1;
	w->events = 0;
}

void watch_clear(struct watch *w)
{
	if (!w->poller)
		return;
	epoll_ctl(w->poller->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	watch_forget(w);
}
