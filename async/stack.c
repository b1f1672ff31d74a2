/* Pooled, guarded stacks. The pool is last in, first out: the warmest stack is the next one used. */
#include "async/stack.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id)      ((void)(id))
#endif

void stack_pool_init(struct stack_pool *p, unsigned keep)
{
	*p = (struct stack_pool){.keep = keep};
}

static struct stack *stack_map(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *m = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (m == MAP_FAILED)
		return NULL;
	if (mprotect(m, page, PROT_NONE) < 0) {
		munmap(m, STACK_SIZE);
		return NULL;
	}
	struct stack *s = (struct stack *)(void *)(m + STACK_SIZE - sizeof(*s));
	s = (struct stack *)(void *)((uintptr_t)s & ~(uintptr_t)63);
	*s = (struct stack){.mapping = m, .base = m + page};
	s->size = (size_t)((char *)s - (char *)s->base);
	s->fiber = (struct fiber){.stack_bottom = s->base, .stack_size = s->size};
#ifdef CONTEXT_TSAN
	s->fiber.tsan = __tsan_create_fiber(0);
#endif
	s->valgrind_id = (unsigned)VALGRIND_STACK_REGISTER(s->base, (char *)s->base + s->size);
	return s;
}

static void stack_unmap(struct stack *s)
{
	VALGRIND_STACK_DEREGISTER(s->valgrind_id);
#ifdef CONTEXT_TSAN
	__tsan_destroy_fiber(s->fiber.tsan);
#endif
	munmap(s->mapping, STACK_SIZE);
}

struct stack *stack_get(struct stack_pool *p)
{
	struct stack *s = p->free;
	if (s) {
		p->free = s->next;
		p->idle--;
	} else {
		s = stack_map();
	}
	if (s)
		p->in_use++;
	return s;
}

void stack_put(struct stack_pool *p, struct stack *s)
{
	p->in_use--;
#ifdef CONTEXT_ASAN
	/* The last function never returned. */
	__asan_unpoison_memory_region(s->base, s->size);
#endif
	if (p->idle >= p->keep) {
		stack_unmap(s);
		return;
	}
	s->fiber.fake_stack = NULL;
	s->next = p->free;
	p->free = s;
	p->idle++;
}

void stack_pool_done(struct stack_pool *p)
{
	while (p->free) {
		struct stack *s = p->free;
		p->free = s->next;
		stack_unmap(s);
	}
	p->idle = 0;
}
