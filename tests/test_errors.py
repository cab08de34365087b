"""What an operator is told holds no secret."""

import pytest

from spark_job.errors import InputError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://me:hush@host/a.tgz: 404", "http://***@host/a.tgz: 404"),
        ("'https://host/a.zip?X-Amz-Credential=hush&X-Amz-Signature=hush' has", None),
        ("https://host/a.zip?page=2&sig=hush&x=1", "https://host/a.zip?page=2&sig=***&x=1"),
        ("abfss://box@account.dfs.core.windows.net/a", "abfss://box@account.dfs.core.windows.net/a"),
        ("s3a://bucket/a:b@c.jpg", "s3a://bucket/a:b@c.jpg"),
    ],
)
def test_a_url_is_told_without_its_password_and_without_what_signs_it(text, told):
    assert "hush" not in str(InputError(text))
    assert str(InputError(text)) == told or told is None
