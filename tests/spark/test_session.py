"""The session that a run reads with."""

from threading import Thread

from pyspark.sql import SparkSession

from spark_job import Settings
from spark_job.spark.session import open_session


def test_a_session_of_the_process_is_used_and_goes_on_also_where_another_thread_made_it(spark: SparkSession) -> None:
    used = list[str | None]()

    def use() -> None:
        assert SparkSession.getActiveSession() is None
        with open_session(Settings(inputs=("none",), output="none")) as session:
            used.append(session.sparkContext.applicationId)

    thread = Thread(target=use)
    thread.start()
    thread.join()
    assert used == [spark.sparkContext.applicationId]
    assert spark.range(3).count() == 3
