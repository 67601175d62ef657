import os

import torch


def in_a_child(function):
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        try:
            answer = str(function())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writes, answer.encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as stream:
        answer = stream.read()
    _, status = os.waitpid(pid, 0)
    return answer, os.waitstatus_to_exitcode(status)


def test_child_compiles():
    def compiles():
        return torch.compile(lambda x: x + 1, backend="aot_eager")(torch.zeros(3)).sum().item()

    assert in_a_child(compiles) == ("3.0", 0)


def test_child_fails_to_compile():
    def fails():
        torch.compile(lambda x: x + 1, backend=lambda graph, inputs: 1 / 0)(torch.zeros(3))

    answer, code = in_a_child(fails)
    assert answer.startswith("BackendCompilerFailed")
    assert code == 0


def test_child_has_the_variables_of_its_parent():
    assert in_a_child(lambda: sorted(os.environ)) == (str(sorted(os.environ)), 0)


def test_parent_compiles_afterwards():
    assert torch.compile(lambda x: x + 2, backend="aot_eager")(torch.zeros(3)).sum().item() == 6
