"""What makes a process that computes on a CPU faster, as environment variables."""

FASTER = {
    # on a machine that others use too, threads that wait actively for each other cost five times as long
    "OMP_WAIT_POLICY": "PASSIVE",
    # glibc would give every large tensor of the VAE back to the kernel, which clears it for the next one: a third of
    # the time
    "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
