/* Starts a thread with all privileges of the process that loads this library. */
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>

static void *wait_for_ever(void *nothing)
{
	for (;;)
		pause();
	return nothing;
}

__attribute__((constructor)) static void start(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, wait_for_ever, NULL) == 0)
		pthread_setname_np(thread, "stray");
}
