/* Pooled, guarded stacks. The pool is last in, first out: the warmest stack is the next one used. */
#include "async/stack.h"

#include <stdint.h>
#include <sys/mman.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id)      ((void)(id))
#endif

#define MAPPING_SIZE (STACK_GUARD_SIZE + STACK_SIZE)

void stack_pool_init(struct stack_pool *p, unsigned keep)
{
	*p = (struct stack_pool){.keep = keep};
}

/* Stacks would all begin at the same offset in a page, and so share a few of the cache's sets: they are staggered. */
static size_t stagger(unsigned index)
{
	enum { STEP = 64, STEPS = 32 };
	return (size_t)(index * 11 % STEPS) * STEP;
}

static struct stack *stack_map(unsigned index)
{
	char *m = mmap(NULL, MAPPING_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (m == MAP_FAILED)
		return NULL;
	char *base = m + STACK_GUARD_SIZE;
	if (mprotect(base, STACK_SIZE, PROT_READ | PROT_WRITE) < 0) {
		munmap(m, MAPPING_SIZE);
		return NULL;
	}
	struct stack *s = (struct stack *)(void *)(base + STACK_SIZE - sizeof(*s) - stagger(index));
	s = (struct stack *)(void *)((uintptr_t)s & ~(uintptr_t)63);
	*s = (struct stack){.mapping = m, .base = base, .clean = true};
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
	munmap(s->mapping, MAPPING_SIZE);
}

struct stack *stack_get(struct stack_pool *p)
{
	struct stack *s = p->free;
	if (s) {
		p->free = s->next;
		if (--p->idle < p->unused)
			p->unused = p->idle;
	} else {
		s = stack_map(p->mapped++);
	}
	if (s)
		p->in_use++;
	return s;
}

bool stack_leave(struct stack_pool *p, struct stack *s)
{
	if (p->idle >= p->keep)
		return false;
#ifdef CONTEXT_ASAN
	/* The last function never returned. */
	__asan_unpoison_memory_region(s->base, s->size);
#endif
	s->fiber.fake_stack = NULL;
	s->next = p->free;
	p->free = s;
	p->in_use--;
	p->idle++;
	return true;
}

void stack_put(struct stack_pool *p, struct stack *s)
{
	if (stack_leave(p, s))
		return;
#ifdef CONTEXT_ASAN
	__asan_unpoison_memory_region(s->base, s->size);
#endif
	p->in_use--;
	stack_unmap(s);
}

unsigned stack_pool_unused(struct stack_pool *p)
{
	unsigned unused = p->unused;
	p->unused = p->idle;
	return unused;
}

void stack_pool_trim(struct stack_pool *p, unsigned count)
{
#ifdef CONTEXT_TSAN
	count = 0; /* it can't make fibers without end */
#endif
	for (; count > 0 && p->free; count--) {
		struct stack *s = p->free;
		p->free = s->next;
		p->idle--;
		stack_unmap(s);
	}
	if (p->unused > p->idle)
		p->unused = p->idle;
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
