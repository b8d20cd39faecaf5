/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* To be included before read.h: the program counts its reads that fail. */
#ifndef SLICEWATCH_UNREAD_H
#define SLICEWATCH_UNREAD_H

#include "kernel.h"

/* Reads of kernel memory that gave nothing, and went on as 0. */
volatile u64 unread;

#define read_failed() __sync_fetch_and_add(&unread, 1)

#endif
