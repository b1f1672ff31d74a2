/* What the compiler is told beyond the language: checked results, printf formats, layout helpers. */
#pragma once

#include <stddef.h>

#define must_check               __attribute__((warn_unused_result))
#define printf_like(text, first) __attribute__((format(printf, text, first)))
#define ARRAY_SIZE(a)            (sizeof(a) / sizeof((a)[0]))
#define BIT(n)                   (1u << (n))

/* The object of type T whose member M is at p. */
#define container_of(p, T, M) ((T *)(void *)((char *)(p)-offsetof(T, M)))
