from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import torch


def test_two_threads_compile_at_the_same_time():
    barrier = Barrier(2)

    def work(number):
        barrier.wait(10)
        return torch.compile(lambda x: x + number, backend="aot_eager")(torch.zeros(3)).sum().item()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, [1, 2])) == [3, 6]


def test_thread_of_a_test_raises_there():
    caught = []

    def work():
        try:
            torch.compile(lambda x: x + 1, backend=lambda graph, inputs: 1 / 0)(torch.ones(3))
        except Exception as error:
            caught.append(type(error).__name__)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert caught == ["BackendCompilerFailed"]


def test_stance_of_one_thread():
    seen = []

    def work():
        seen.append(torch.compile(lambda x: x - 1, backend="eager")(torch.ones(2)).tolist())

    with torch.compiler.set_stance("force_eager"):
        thread = Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [[0, 0]]
